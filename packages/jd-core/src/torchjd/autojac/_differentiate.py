"""From checked arguments to the Jacobian: what ``jac`` and ``backward`` share."""

from collections.abc import Callable, Sequence

from torch import Tensor

from ._cotangents import Cotangents, GivenCotangents, UnitCotangents
from ._graph import Graph, edge_of, walk
from ._strategy import jacobian


def differentiate(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor] | None,
    cotangents: Sequence[Tensor] | None,
    *,
    retain_graph: bool,
    chunk_size: int | None,
    check: Callable[[Sequence[Tensor], int], None] | None = None,
) -> tuple[Sequence[Tensor], list[Tensor]]:
    """Return the inputs, and the Jacobian with respect to each, of shape ``[m, *input.shape]``.

    :param outputs: What to differentiate.
    :param inputs: With respect to which tensors; None for all leaves of the graph.
    :param cotangents: For each output, a tensor of shape ``[m, *output.shape]``; None for the
        identity.
    :param retain_graph: Whether to keep the graph.
    :param chunk_size: The most rows to differentiate at a time; None to choose.
    :param check: Called with the inputs and m before anything is computed.
    :raises RuntimeError: If the graph holds a reentrant checkpoint.
    """
    graph = walk([edge_of(output) for output in outputs])
    graph.refuse_reentrant()
    targets = graph.leaves if inputs is None else inputs
    starts = _cotangents(outputs, cotangents, graph)
    if check is not None:
        check(targets, starts.m)
    return targets, jacobian(
        starts, targets, graph, retain_graph=retain_graph, chunk_size=chunk_size
    )


def _cotangents(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor] | None, graph: Graph
) -> Cotangents:
    if cotangents is None:
        return UnitCotangents(outputs, graph.meets_later)
    return GivenCotangents(outputs, cotangents)
