"""Row by row, or several rows at a time: which, and why."""

import sys
import warnings
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ._compiled import fill_checked
from ._cotangents import Cotangents
from ._graph import Graph
from ._rows import fill_by_batches, fill_by_loop, first_row, new_buffers

# Measured on two CPU cores (docs/decisions/0003): batching saves the overhead of a node's many
# small kernels, 2 to 10 times from 8 rows on; where a row's largest tensor has more elements, the
# kernels are busy by themselves, and the batched tensors fall out of the cache (up to 3 times
# slower).
_MIN_ROWS = 8
_MAX_ELEMENTS_OF_A_ROW = 1 << 15
_MAX_ELEMENTS_OF_A_CHUNK = 1 << 20

_unbatchable: set[frozenset[str]] = set()


def jacobian(
    cotangents: Cotangents,
    inputs: Sequence[Tensor],
    graph: Graph,
    *,
    retain_graph: bool,
    chunk_size: int | None,
) -> list[Tensor]:
    """Return the Jacobian with respect to each input, of shape ``[m, *input.shape]``.

    :param cotangents: What is pulled back through the graph.
    :param inputs: With respect to which tensors.
    :param graph: What is known of the graph.
    :param retain_graph: Whether to keep the graph.
    :param chunk_size: The most rows to differentiate at a time; None to choose.
    """
    buffers = new_buffers(cotangents.m, inputs)
    size = _chunk_size(cotangents.m, inputs, graph, chunk_size)
    if graph.compiled:
        if chunk_size is not None and size > 1:
            warn_looped("a compiled region cannot be batched")
        fill_checked(
            lambda: fill_by_loop(cotangents, inputs, buffers, retain_graph),
            lambda: first_row(cotangents, inputs),
            buffers,
        )
    elif size == 1 or graph.names in _unbatchable:
        fill_by_loop(cotangents, inputs, buffers, retain_graph)
    else:
        try:
            fill_by_batches(size)(cotangents, inputs, buffers, retain_graph)
        except Exception as error:
            # What is wrong with the graph itself is raised by the loop, in torch's own words.
            fill_by_loop(cotangents, inputs, buffers, retain_graph)
            if not isinstance(error, torch.OutOfMemoryError):
                _unbatchable.add(graph.names)
            warn_looped(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    return buffers


def batches(m: int, inputs: Sequence[Tensor], graph: Graph, chunk_size: int | None) -> bool:
    """Whether :func:`jacobian` would try to differentiate several rows at a time."""
    usable = not graph.compiled and graph.names not in _unbatchable
    return usable and _chunk_size(m, inputs, graph, chunk_size) > 1


def _chunk_size(m: int, inputs: Sequence[Tensor], graph: Graph, requested: int | None) -> int:
    if requested is not None:
        return min(requested, m)
    # A hook may keep what it sees, which must then be an ordinary gradient.
    if m < _MIN_ROWS or any(tensor._backward_hooks for tensor in inputs):
        return 1
    largest = max(tensor.numel() for tensor in inputs)
    for node in graph.nodes:
        if largest > _MAX_ELEMENTS_OF_A_ROW:
            return 1
        largest = max(largest, _largest_cotangent(node))
    return min(m, max(1, _MAX_ELEMENTS_OF_A_CHUNK // max(1, largest)))


def _largest_cotangent(node: Node) -> int:
    """Return the most elements in a gradient that enters ``node``; too many if unknown."""
    unknown = _MAX_ELEMENTS_OF_A_ROW + 1
    try:
        shapes = [tuple(entry.shape) for entry in node._input_metadata]
    except (AttributeError, RuntimeError):  # another torch; a nested tensor that has no shape
        return unknown
    if not all(isinstance(size, int) for shape in shapes for size in shape):
        return unknown  # a ragged dimension
    return max(map(prod, shapes), default=0)


def warn_looped(reason: str) -> None:
    """Tell the user, at the line of the call, that rows are not batched, and why."""
    warnings.warn(
        "The rows of this Jacobian are differentiated one by one, not several at a time: "
        f"{reason}. Pass `parallel_chunk_size=1` to ask for that, without this warning.",
        UserWarning,
        stacklevel=_level_of_user(),
    )


def _level_of_user() -> int:
    """Return how many frames above the warning the code is that called this library."""
    level, frame = 2, sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("torchjd."):
        level, frame = level + 1, frame.f_back
    return level
