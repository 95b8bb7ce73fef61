"""Who looks on while objects aggregate and weigh: a registry beside the objects themselves.

Nothing is stored on what is observed, so that copies, state dicts and hooks are what they would be
without. Where nothing is observed, all that it costs is a look at one flag.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.compiler import is_compiling


class Registry:
    """The observers, by what they observe.

    :ivar in_use: Whether there is any. A plain flag, which ``torch.compile`` can guard: it sees two
        cases of it, and not one for each observed object.
    :ivar entries: The observers by the identity of their object: a module may compare, or hash, as
        it likes.
    """

    __slots__ = ("entries", "in_use")

    def __init__(self) -> None:
        self.in_use = False
        self.entries: dict[int, _Entry] = {}

    def put(self, key: int, entry: "_Entry | None") -> None:
        """Replace what is there for ``key``, by nothing where ``entry`` is None."""
        if entry is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = entry
        self.in_use = bool(self.entries)


OBSERVED = Registry()


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Observation:
    r"""What one call of an observed object was about; to be used while the observer is called.

    :ivar m: How many objectives there are.
    :ivar gramian: The Gramian over ``scale`` squared, where it was computed anyway.
    :ivar scale: A power of two by which the rows were divided; None for 1.
    :ivar compute: Returns both of these where the former is None; None where nobody can.
    :ivar weights: One for each objective, where there are weights.
    :ivar losses: The values of the objectives, where they are known.
    :ivar products: Returns :math:`J d` for an update :math:`d` that is not :math:`w^\top J`.
    """

    m: int
    gramian: Tensor | None = None
    scale: Tensor | None = None
    compute: Callable[[], tuple[Tensor, Tensor | None]] | None = None
    weights: Tensor | None = None
    losses: Tensor | None = None
    products: Callable[[], Tensor] | None = None


Observer = Callable[[Observation], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    """The observers of an object, and the reference that takes them away with it."""

    target: weakref.ref[object]
    observers: tuple[Observer, ...]


def observe(target: object, observer: Observer) -> Callable[[], None]:
    """Have ``observer`` called with each :class:`Observation` of ``target``, after the others.

    :param target: What is observed, for as long as it lives; it is not kept alive.
    :param observer: What is called. It must not change what it is shown.
    :returns: What ends that; to be called once.
    """
    key = id(target)
    entry = OBSERVED.entries.get(key)
    if entry is None:
        entry = _Entry(weakref.ref(target, lambda _: OBSERVED.put(key, None)), ())
    own = entry.target
    OBSERVED.put(key, _Entry(own, (*entry.observers, observer)))

    def end() -> None:
        found = OBSERVED.entries.get(key)
        # Another object may have come to live at the same address.
        if found is None or found.target is not own:
            return
        rest = list(found.observers)
        rest.remove(observer)
        OBSERVED.put(key, _Entry(own, tuple(rest)) if rest else None)

    return end


def is_observed(target: object) -> bool:
    """Return whether anybody observes ``target``; nobody does what is being compiled."""
    # In this order: a look into the table would be guarded for each object that is compiled.
    return not is_compiling() and id(target) in OBSERVED.entries


def emit(target: object, observation: Observation) -> None:
    """Show ``observation`` to who observes ``target``; what they raise is raised here."""
    entry = OBSERVED.entries.get(id(target))
    for observer in entry.observers if entry is not None else ():
        observer(observation)
