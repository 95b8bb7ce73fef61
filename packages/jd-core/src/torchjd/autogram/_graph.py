"""The part of the autograd graph that lies between losses and parameters."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node

from torchjd._autograd._nodes import Edge, edge_of, is_leaf, is_opaque, kind


@dataclass(frozen=True)
class Graph:
    """The nodes from which some wanted leaf is reached.

    :ivar order: The nodes, each before those that it leads to; leaves are left out.
    :ivar inputs: For each node, the edges that it leads to, numbered as its ``next_functions``;
        None for those from which no wanted leaf is reached.
    :ivar leaves: The wanted leaves that are reached, by their node.
    :ivar others: The other leaves that are reached.
    :ivar names: The names of the kinds of all nodes reached.
    """

    order: list[Node]
    inputs: dict[Node, tuple[Edge | None, ...]]
    leaves: dict[Node, Tensor]
    others: list[Tensor]
    names: frozenset[str]

    @property
    def has_python(self) -> bool:
        """Whether a custom Function, such as a compiled region, is among the nodes."""
        return any(map(is_opaque, self.order))

    def shape(self, edge: Edge) -> torch.Size:
        """Return the shape of the tensor whose gradient enters at ``edge``."""
        leaf = self.leaves.get(edge.node)
        return torch.Size(shapes(edge.node)[edge.output]) if leaf is None else leaf.shape


def walk(output: Tensor, wanted: Collection[Tensor]) -> Graph:
    """Walk the graph of ``output``.

    :param output: A tensor that requires grad.
    :param wanted: The leaves that are looked for.
    """
    identities = {id(tensor) for tensor in wanted}
    inputs: dict[Node, tuple[Edge | None, ...]] = {}
    leaves: dict[Node, Tensor] = {}
    others: list[Tensor] = []
    order: list[Node] = []
    names: set[str] = set()
    for node in _postorder(edge_of(output).node):
        if is_leaf(node):
            leaf: Tensor = node.variable  # type: ignore[attr-defined]
            if id(leaf) in identities:
                leaves[node] = leaf
            else:
                others.append(leaf)
            continue
        names.add(kind(node))
        edges = tuple(
            Edge(child, output) if child in inputs or child in leaves else None
            for child, output in node.next_functions
        )
        if any(edges):
            inputs[node] = edges
            order.append(node)
    order.reverse()
    return Graph(order, inputs, leaves, others, frozenset(names))


def _postorder(root: Node) -> Iterator[Node]:
    """Yield each node after all that it leads to."""
    seen = {root}
    stack: list[tuple[Node, Iterator[tuple[Node | None, int]]]]
    stack = [(root, iter(root.next_functions))]
    while stack:
        node, children = stack[-1]
        for child, _ in children:
            if child is not None and child not in seen:
                seen.add(child)
                stack.append((child, iter(child.next_functions)))
                break
        else:
            stack.pop()
            yield node


def shapes(node: Node) -> list[Sequence[int]]:
    """Return the shapes of what ``node`` returned in the forward pass."""
    return [entry.shape for entry in node._input_metadata]
