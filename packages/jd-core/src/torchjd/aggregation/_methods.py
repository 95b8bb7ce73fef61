"""The table of methods: what each needs, remembers, guarantees and costs."""

from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

from ._aggregator import Aggregator
from ._inputs import Needs
from ._traits import Traits
from ._weighting import Weighting

_SUFFIX = "Weighting"


@dataclass(frozen=True)
class Method:
    """A discovered method: an aggregator, its weighting if it has one, or a weighting alone.

    :ivar name: Of the method, as imported from ``torchjd.aggregation``.
    :ivar aggregator: The aggregator; None where there is only a weighting.
    :ivar weighting: The weighting; None where the method has no weights.
    :ivar needs: What it reads of the Jacobian, as of :class:`Weighting`; None where that depends
        on the weighting it wraps.
    :ivar needs_losses: Whether it reads the values of the objectives too.
    :ivar scaling: What the result for :math:`s J` is, in terms of that for :math:`J`: ``"s"``
        times it, ``"1"`` for the same; empty where there is no such law.
    :ivar traits: What it guarantees and costs.
    """

    name: str
    aggregator: type[Aggregator] | None
    weighting: type[Weighting[Any]] | None
    needs: Needs | None
    needs_losses: bool
    scaling: str
    traits: Traits


def methods() -> tuple[Method, ...]:
    """Return the table of all discovered methods, sorted by name.

    A method and its weighting, ``X`` and ``XWeighting``, are one row.

    :raises PluginError: If a plugin cannot import what it offers.

    >>> from torchjd.aggregation import methods
    >>> table = {method.name: method for method in methods()}
    >>> table["UPGrad"].needs, table["UPGrad"].scaling, table["UPGrad"].traits.no_conflict
    ('gramian', 's', True)
    """
    from torchjd.plugins import discovered, discovered_names

    found = {name: discovered("aggregation", name) for name in discovered_names("aggregation")}
    rows = []
    for name, cls in found.items():
        if issubclass(cls, Aggregator):
            rows.append(_row(name, cls, cls, found.get(name + _SUFFIX)))
        elif name.removesuffix(_SUFFIX) not in found or not name.endswith(_SUFFIX):
            rows.append(_row(name, cls, None, cls))
    return tuple(rows)


def _row(
    name: str,
    cls: type[Aggregator] | type[Weighting[Any]],
    aggregator: type[Aggregator] | None,
    weighting: type[Weighting[Any]] | None,
) -> Method:
    reads = weighting or cls
    needs, losses = getattr_static(reads, "needs"), getattr_static(reads, "needs_losses")
    if isinstance(needs, property):  # of the aggregators that say nothing, or of a wrapper
        needs = "jacobian" if weighting is None else None
    return Method(
        name=name,
        aggregator=aggregator,
        weighting=weighting,
        needs=needs,
        needs_losses=losses is True,
        scaling=cls.traits.scaling or _scaling(getattr_static(reads, "degree"), weighting),
        traits=cls.traits,
    )


def _scaling(degree: object, weighting: type | None) -> str:
    if not isinstance(degree, int | float):
        return ""
    power = degree + (weighting is not None)
    return "1" if power == 0 else "s" if power == 1 else f"s^{power:g}"
