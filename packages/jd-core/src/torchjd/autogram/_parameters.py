"""From a function of parameters alone back to the parameters."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from torchjd._autograd._nodes import Edge, kind

from ._graph import Graph
from ._hooks import hooks_suspended
from ._uses._outer import OuterProducts
from ._uses._rearranged import Rearranged, Restore
from ._uses._rows import Rows
from ._uses._use import Use


def leaves_below(graph: Graph, edge: Edge) -> list[Tensor]:
    """Return the wanted leaves that ``edge`` leads to, each once."""
    seen = {edge.node}
    stack = [edge.node]
    found = []
    while stack:
        node = stack.pop()
        if node in graph.leaves:
            found.append(graph.leaves[node])
            continue
        for child in graph.inputs[node]:
            if child is not None and child.node not in seen:
                seen.add(child.node)
                stack.append(child.node)
    return found


def to_leaves(graph: Graph, edge: Edge, use: Use) -> Mapping[Tensor, Use]:
    """Return what a use of the tensor at ``edge`` is for each leaf that it is a function of."""
    while edge.node not in graph.leaves:
        step = _through_view(graph, edge, use)
        if step is None:
            return _by_rows(graph, edge, use)
        edge, use = step
    return {graph.leaves[edge.node]: use}


def _through_view(graph: Graph, edge: Edge, use: Use) -> tuple[Edge, Use] | None:
    """Return the input of a node that rearranges one tensor, and the use of that; or None."""
    name, below = kind(edge.node), graph.inputs[edge.node][0]
    if below is None or len(graph.inputs[edge.node]) > 1:
        return None
    if edge.node._input_metadata[edge.output].dtype.is_complex:
        return None  # of a real parameter, the real part counts
    shape = graph.shape(below)
    if name in _SAME_ELEMENTS and shape == use.shape:
        return below, use
    if name == "TBackward0" and len(shape) == 2 and isinstance(use, OuterProducts):
        return below, use.transpose()
    restore = _restore(edge.node, name, shape)
    return None if restore is None else (below, Rearranged(use, shape, restore))


# Nodes that keep the elements in their order, each with the shape that it gives them.
_SAME_ELEMENTS = frozenset(
    {
        "AliasBackward0",
        "CloneBackward0",
        "ReshapeAliasBackward0",
        "SqueezeBackward0",
        "SqueezeBackward1",
        "ToCopyBackward0",
        "UnsafeViewBackward0",
        "UnsqueezeBackward0",
        "ViewBackward0",
    }
)


def _restore(node: Any, name: str, shape: torch.Size) -> Restore | None:
    """Return what undoes a node that rearranges the elements of a tensor of ``shape``."""
    n = len(shape)
    if name in _SAME_ELEMENTS:
        return lambda rows: rows.reshape(rows.shape[0], *shape)
    if name == "TBackward0":
        return lambda rows: rows.transpose(1, 2) if n == 2 else rows
    if name == "TransposeBackward0":
        one, other = (_dim(d, n) for d in (node._saved_dim0, node._saved_dim1))
        return lambda rows: rows.transpose(1 + one, 1 + other)
    if name == "PermuteBackward0":
        order = [_dim(d, n) for d in node._saved_dims]
        inverse = sorted(range(n), key=order.__getitem__)
        return lambda rows: rows.permute(0, *(1 + d for d in inverse))
    return None


def _dim(saved: int, n: int) -> int:
    """Return a dimension as an index from the first; negative ones are saved as unsigned."""
    return (saved - (1 << 64) if saved >= 1 << 63 else saved) % n


def _by_rows(graph: Graph, edge: Edge, use: Use) -> Mapping[Tensor, Use]:
    """Pull the rows of ``use`` back, one by one, by the graph between the tensor and the leaves."""
    leaves = leaves_below(graph, edge)
    node = {leaf: node for node, leaf in graph.leaves.items()}
    targets = [GradientEdge(node[leaf], 0) for leaf in leaves]
    source = GradientEdge(edge.node, edge.output)
    rows = use.rows()
    real = rows.real if rows.is_complex() else rows
    jacobians = {leaf: real.new_zeros(use.tasks, use.batch, *leaf.shape) for leaf in leaves}
    dtype = edge.node._input_metadata[edge.output].dtype
    with hooks_suspended(leaves):
        for i, row in enumerate(rows):
            grads: tuple[Tensor | None, ...] = torch.autograd.grad(
                [source], targets, [row.to(dtype)], retain_graph=True, allow_unused=True
            )
            for leaf, grad in zip(leaves, grads, strict=True):
                if grad is not None:
                    jacobians[leaf].flatten(0, 1)[i] = grad
    return {leaf: Rows(jacobian) for leaf, jacobian in jacobians.items()}
