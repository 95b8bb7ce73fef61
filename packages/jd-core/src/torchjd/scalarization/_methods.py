"""The table of scalarizers: what each remembers, guarantees and costs."""

from dataclasses import dataclass

from torchjd.aggregation import Traits

from ._scalarizer import Scalarizer


@dataclass(frozen=True)
class ScalarizerMethod:
    """A discovered scalarizer.

    :ivar name: As imported from ``torchjd.scalarization``.
    :ivar scalarizer: The class.
    :ivar traits: What it guarantees and costs.
    """

    name: str
    scalarizer: type[Scalarizer]
    traits: Traits


def methods() -> tuple[ScalarizerMethod, ...]:
    """Return the table of all discovered scalarizers, sorted by name.

    :raises PluginError: If a plugin cannot import what it offers.

    >>> from torchjd.scalarization import methods
    >>> table = {method.name: method for method in methods()}
    >>> table["Mean"].traits.permutation
    True
    """
    from torchjd.plugins import discovered, discovered_names

    found = {name: discovered("scalarization", name) for name in discovered_names("scalarization")}
    return tuple(ScalarizerMethod(name, cls, cls.traits) for name, cls in found.items())
