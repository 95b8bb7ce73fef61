"""One walk over the autograd graph: who is reached, and what stands in the way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor
from torch.autograd.graph import Node

from torchjd._autograd._nodes import Edge, is_leaf, kind, refuse_reentrant

_COMPILED = "CompiledFunctionBackward"


@dataclass
class Graph:
    """What a walk over the graph found.

    :ivar leaves: The leaves reached, in the order in which they were met.
    :ivar nodes: The other nodes that were met.
    :ivar meets_later: For each root, whether its nodes are also those of a later root.
    :ivar cut: The edges of the cut at which the walk stopped.
    :ivar bypassed: A node of the cut that was entered through another of its outputs.
    """

    leaves: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    meets_later: list[bool] = field(default_factory=list)
    cut: set[Edge] = field(default_factory=set)
    bypassed: list[Node] = field(default_factory=list)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the kinds of node in the graph."""
        return frozenset(map(kind, self.nodes))

    @property
    def compiled(self) -> bool:
        """Whether a compiled region is in the graph."""
        return _COMPILED in self.names

    def refuse_reentrant(self) -> None:
        """Refuse a graph in which autograd cannot see what is within.

        :raises RuntimeError: If a reentrant checkpoint is in the graph.
        """
        refuse_reentrant(self.names, "A Jacobian")


def walk(roots: Sequence[Edge], cut: Iterable[Edge] = ()) -> Graph:
    """Walk from ``roots`` towards the leaves, without going past the edges of ``cut``.

    :param roots: Where to start. A root that is itself in ``cut`` is entered all the same.
    :param cut: Where to stop.
    """
    graph = Graph()
    stops = set(cut)
    stop_nodes = {edge.node for edge in stops}
    seen: set[Node] = set()
    # Backwards, so that a root which meets seen nodes shares them with a later root.
    for root in reversed(roots):
        graph.meets_later.append(_walk_from(root.node, graph, seen, stops, stop_nodes))
    graph.meets_later.reverse()
    return graph


def _walk_from(
    root: Node, graph: Graph, seen: set[Node], stops: set[Edge], stop_nodes: set[Node]
) -> bool:
    """Add what ``root`` reaches to ``graph``; return whether any of it had been seen before."""
    mine: set[Node] = set()
    met = False
    stack = [root]
    while stack:
        node = stack.pop()
        if node in mine:
            continue
        if node in seen:
            met = met or not is_leaf(node)  # a leaf holds nothing that could be freed
            continue
        mine.add(node)
        if is_leaf(node):
            graph.leaves.append(node.variable)  # type: ignore[attr-defined]
            continue
        graph.nodes.append(node)
        for next_node, output in node.next_functions:
            if next_node is None:
                continue
            if next_node in stop_nodes:
                edge = Edge(next_node, output)
                if edge in stops:
                    graph.cut.add(edge)
                    continue
                graph.bypassed.append(next_node)
            stack.append(next_node)
    seen |= mine
    return met
