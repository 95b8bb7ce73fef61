"""What people read of a method, in words: for the command line and for the documentation."""

from collections.abc import Iterator
from typing import NamedTuple

from torchjd.aggregation import Method, Traits
from torchjd.scalarization import ScalarizerMethod

_INPUTS = {
    "jacobian": "Jacobian",
    "gramian": "Gramian",
    "cross gramian": "cross-batch Gramian",
    "row count": "row count",
    None: "what its weighting reads",
}
_SCALINGS = {"s": "homogeneous", "1": "scale-free"}


class MethodRow(NamedTuple):
    """One line of the table of methods.

    ``name`` is found under ``torchjd.<kind>``. The last three are for those who compute: the
    arithmetic, whether a GPU works without the host, and whether ``torch.compile`` traces it.
    """

    name: str
    kind: str
    input: str
    state: str
    guarantees: str
    random: str
    cost: str
    on_device: str
    compiles: str


def row(method: Method | ScalarizerMethod) -> MethodRow:
    """Return the line of a method; what there is nothing to say of is empty."""
    if isinstance(method, ScalarizerMethod):
        return _row(method.name, "scalarization", "losses", method.traits.scaling, method.traits)
    read = _INPUTS[method.needs] + (", losses" if method.needs_losses else "")
    return _row(method.name, "aggregation", read, method.scaling, method.traits)


def _row(name: str, kind: str, read: str, scaling: str, traits: Traits) -> MethodRow:
    return MethodRow(
        name=name,
        kind=kind,
        input=read,
        state=traits.state,
        guarantees=", ".join(_guarantees(traits, scaling)),
        random=_yes(traits.random),
        cost=traits.cost,
        on_device=_yes(traits.on_device),
        compiles=_yes(traits.compiles),
    )


def _guarantees(traits: Traits, scaling: str) -> Iterator[str]:
    if traits.no_conflict:
        yield "no conflict"
    if traits.permutation:
        yield "permutation"
    if traits.linear_under_scaling:
        yield "linear under scaling"
    if scaling:
        yield _SCALINGS.get(scaling, f"scaling {scaling}")


def _yes(holds: bool) -> str:
    return "yes" if holds else ""
