"""How the Gramian of a graph is computed: which leaves by which nodes, and which loss by loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node

from torchjd._autograd._nodes import Edge, edge_of, kind, refuse_reentrant

from ._graph import Graph, walk
from ._order import Losses
from ._parameters import leaves_below
from ._placement import Placement, place


@dataclass(frozen=True)
class Plan:
    """How the Gramian of a graph is computed.

    :ivar output: The losses.
    :ivar losses: How they are read; None if nothing is assumed of the samples.
    :ivar graph: The graph between them and the leaves.
    :ivar inside: The leaves that the Gramian is for, of those that are reached.
    :ivar rowwise: Those of them that are computed loss by loss.
    :ivar consumers: The nodes that rules serve, each with the edges of the tensors that it reads.
    :ivar placement: What is known of the nodes, where samples are told apart.
    """

    output: Tensor
    losses: Losses | None
    graph: Graph
    inside: list[Tensor]
    rowwise: list[Tensor]
    consumers: dict[Node, dict[int, Edge]]
    placement: Placement

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the Gramian: at least float32."""
        return torch.promote_types(self.output.dtype, torch.float32)

    @property
    def mixing(self) -> list[Node]:
        """The nodes in which samples are mixed, or that lie below one."""
        return self.placement.mixing

    def where_mixed(self) -> str:
        """Return the name of the kind of the first node in which samples are mixed."""
        return kind(self.mixing[0])


def make_plan(
    output: Tensor, batch_dim: int | None, parameters: Sequence[Tensor], others: bool
) -> Plan:
    """Find how the Gramian of ``output`` with respect to ``parameters`` is computed.

    :param output: The losses.
    :param batch_dim: Their dimension of the samples; None if nothing is assumed of them.
    :param parameters: What the Gramian is for.
    :param others: Whether the uses of the other leaves are wanted too.
    :raises RuntimeError: If a reentrant checkpoint is in the graph.
    """
    graph = walk(output, parameters)
    refuse_reentrant(graph.names, "A Gramian")
    if others and graph.others:
        graph = walk(output, [*parameters, *graph.others])
    wanted = {id(leaf) for leaf in parameters}
    inside = [leaf for leaf in graph.leaves.values() if id(leaf) in wanted]
    if batch_dim is None or output.shape[batch_dim] == 1 or edge_of(output).node in graph.leaves:
        return Plan(output, None, graph, inside, inside, {}, Placement({}, set(), [], []))
    losses = Losses(output.shape, batch_dim)
    placement = place(output, losses, graph)
    rowwise = _below(graph, placement.mixing)
    # Rules are real: the gradient of a complex parameter is taken by its real and imaginary parts.
    rowwise |= {id(leaf) for leaf in graph.leaves.values() if leaf.is_complex()}
    consumers = _consumers(graph, placement, rowwise)
    by_rows = [leaf for leaf in inside if id(leaf) in rowwise]
    return Plan(output, losses, graph, inside, by_rows, consumers, placement)


def _consumers(
    graph: Graph, placement: Placement, rowwise: set[int]
) -> dict[Node, dict[int, Edge]]:
    """Return the nodes that read parameters, or functions of some, for rules to serve."""
    consumers: dict[Node, dict[int, Edge]] = {}
    for node in graph.order:
        if node not in placement.layouts or node in placement.parameters:
            continue
        read = {
            slot: edge
            for slot, edge in enumerate(graph.inputs[node])
            if edge is not None
            and (edge.node in graph.leaves or edge.node in placement.parameters)
            and any(id(leaf) not in rowwise for leaf in leaves_below(graph, edge))
        }
        if read:
            consumers[node] = read
    return consumers


def _below(graph: Graph, nodes: Sequence[Node]) -> set[int]:
    """Return the identities of the leaves that ``nodes`` lead to."""
    found: set[int] = set()
    seen = set(nodes)
    stack = list(nodes)
    while stack:
        for edge in graph.inputs[stack.pop()]:
            if edge is None or edge.node in seen:
                continue
            seen.add(edge.node)
            if edge.node in graph.leaves:
                found.add(id(graph.leaves[edge.node]))
            else:
                stack.append(edge.node)
    return found
