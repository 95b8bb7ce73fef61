"""From a user's arguments to the Jacobian: what ``jac`` and both ``backward`` share."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from torchjd._autograd._nodes import edge_of

from ._arguments import as_chunk_size, as_cotangents, as_inputs, as_outputs
from ._cotangents import Cotangents, GivenCotangents, UnitCotangents
from ._graph import walk
from ._scaling import as_row_scales
from ._strategy import jacobian


class Names(NamedTuple):
    """What the user calls the arguments: errors speak of them by these names."""

    outputs: str
    inputs: str
    cotangents: str


class Differentiated(NamedTuple):
    """The Jacobian, and what it is that of.

    :ivar inputs: With respect to which tensors.
    :ivar jacobians: For each, a tensor of shape ``[m, *input.shape]``.
    :ivar outputs: What was differentiated.
    :ivar cotangents: For each output, a tensor of shape ``[m, *output.shape]``; None for the
        identity.
    """

    inputs: Sequence[Tensor]
    jacobians: list[Tensor]
    outputs: Sequence[Tensor]
    cotangents: Sequence[Tensor] | None


def differentiate(
    outputs: Tensor | Iterable[Tensor],
    inputs: Tensor | Iterable[Tensor] | None,
    cotangents: Tensor | Iterable[Tensor] | None,
    *,
    names: Names,
    retain_graph: bool,
    parallel_chunk_size: int | None,
    check: Callable[[Sequence[Tensor], int], None] | None = None,
    row_scales: Tensor | None = None,
) -> Differentiated:
    """Return the Jacobian of ``outputs`` with respect to each of ``inputs``.

    :param outputs: What to differentiate.
    :param inputs: With respect to which tensors; None for all leaves of the graph.
    :param cotangents: For each output, a tensor of shape ``[m, *output.shape]``; None for the
        identity.
    :param names: What the user calls the arguments above.
    :param retain_graph: Whether to keep the graph.
    :param parallel_chunk_size: The most rows to differentiate at a time; None to choose.
    :param check: Called with the inputs and m before anything is computed.
    :param row_scales: By what the cotangents are multiplied, and the rows divided; None for 1.
    :raises TypeError: If an argument is of a wrong type or dtype.
    :raises ValueError: If an argument has a wrong shape or number, or does not require grad.
    :raises RuntimeError: If the graph cannot be differentiated, or not safely.
    """
    to_differentiate = as_outputs(outputs, names.outputs)
    given = None if inputs is None else as_inputs(inputs, names.inputs)
    chunk_size = as_chunk_size(parallel_chunk_size)
    starts = (
        None
        if cotangents is None
        else as_cotangents(cotangents, names.cotangents, to_differentiate, names.outputs)
    )
    graph = walk([edge_of(output) for output in to_differentiate])
    graph.refuse_reentrant()
    targets = graph.leaves if given is None else given
    m = sum(output.numel() for output in to_differentiate) if starts is None else len(starts[0])
    scaling = None if row_scales is None else as_row_scales(row_scales, m, names.inputs, targets)
    rows: Cotangents
    if starts is None:
        rows = UnitCotangents(to_differentiate, graph.meets_later, scaling)
    else:
        scaled = starts if scaling is None else [scaling.scale(start) for start in starts]
        rows = GivenCotangents(to_differentiate, scaled, scaling)
    if check is not None:
        check(targets, rows.m)
    jacobians = jacobian(rows, targets, graph, retain_graph=retain_graph, chunk_size=chunk_size)
    return Differentiated(targets, jacobians, to_differentiate, starts)
