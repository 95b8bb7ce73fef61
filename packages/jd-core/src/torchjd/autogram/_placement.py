"""Which nodes keep the samples apart, which serve parameters alone, and which mix."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from torch import Tensor
from torch.autograd.graph import Node

from torchjd._autograd._nodes import Edge, edge_of, kind

from ._graph import Graph, shapes
from ._layout import Layout
from ._order import Losses
from ._probe import probe
from ._propagation import propagate

# Nodes that only rearrange or convert what they are given.
_VIEWS = frozenset(
    {
        "AliasBackward0",
        "CloneBackward0",
        "PermuteBackward0",
        "ReshapeAliasBackward0",
        "SqueezeBackward0",
        "SqueezeBackward1",
        "TBackward0",
        "ToCopyBackward0",
        "TransposeBackward0",
        "UnsafeViewBackward0",
        "UnsqueezeBackward0",
        "ViewBackward0",
    }
)

# What depends on parameters alone is seldom larger than they are; what is much larger is
# activations, whose rows would not fit.
_MAX_GROWTH = 4


@dataclass
class Placement:
    """What is known of each node of a graph.

    :ivar layouts: Where the samples sit in each output of the nodes that keep them apart.
    :ivar parameters: The nodes that are functions of parameters alone.
    :ivar mixing: The other nodes: those in which samples are mixed, or below such ones.
    :ivar unproven: The nodes of which it was not known how they treat the samples, so that it was
        found by experiment.
    """

    layouts: dict[Node, list[Layout | None]]
    parameters: set[Node]
    mixing: list[Node]
    unproven: list[Node]


def place(output: Tensor, losses: Losses, graph: Graph) -> Placement:
    """Find what each node of ``graph`` does to the samples.

    By proof, from the losses down, where the kinds of all nodes are known; else by experiment.
    """
    proof = _Proof(graph, losses.batch)
    proof.run(output, Layout(losses.batch_dim))
    layouts = proof.layouts
    if proof.unproven:
        light = _light(graph)
        bottoms = [
            node
            for node in graph.order
            if node not in light
            and all(
                e is None or e.node in graph.leaves or e.node in light for e in graph.inputs[node]
            )
        ]
        found = probe(output, losses, graph, bottoms, light)
        layouts = _apart(found) | proof.layouts
    parameters = _parameters(graph, layouts)
    mixing = [n for n in graph.order if n not in layouts and n not in parameters]
    return Placement(layouts, parameters, mixing, proof.unproven)


@dataclass
class _Proof:
    """Layouts propagated from the losses towards the leaves."""

    graph: Graph
    batch: int
    layouts: dict[Node, list[Layout | None]] = field(default_factory=dict)
    unproven: list[Node] = field(default_factory=list)
    _seen: dict[Edge, Layout | None] = field(default_factory=dict)

    def run(self, output: Tensor, layout: Layout) -> None:
        """Propagate through all nodes, as far as something can be said of them."""
        self._seen[edge_of(output)] = layout
        for node in self.graph.order:
            edges = self.graph.inputs[node]
            mapping = self._through(node)
            for slot, edge in enumerate(edges):
                if edge is not None and edge.node not in self.graph.leaves:
                    self._arrive(edge, mapping.get(slot))

    def _through(self, node: Node) -> Mapping[int, Layout]:
        outputs = [Edge(node, i) for i in range(len(shapes(node)))]
        arrived = [edge for edge in outputs if edge in self._seen]
        if any(self._seen[edge] is None for edge in arrived) or not arrived:
            return {}
        layouts = [self._seen.get(edge) for edge in outputs]
        mapping = propagate(node, layouts, self.batch)
        if mapping is None:
            self.unproven.append(node)
        self.layouts[node] = layouts
        return mapping or {}

    def _arrive(self, edge: Edge, layout: Layout | None) -> None:
        known = self._seen.setdefault(edge, layout)
        if known != layout:
            self._seen[edge] = None


def _light(graph: Graph) -> set[Node]:
    """Return the nodes that only rearrange a leaf: pulling back to them would be for nothing."""
    light: set[Node] = set()
    for node in reversed(graph.order):
        if kind(node) in _VIEWS and all(
            edge is None or edge.node in graph.leaves or edge.node in light
            for edge in graph.inputs[node]
        ):
            light.add(node)
    return light


def _apart(found: Mapping[Edge, Layout | None]) -> dict[Node, list[Layout | None]]:
    """Return the layouts of the nodes all of whose cotangents keep the samples apart."""
    mixed = {edge.node for edge, layout in found.items() if layout is None}
    apart: dict[Node, list[Layout | None]] = {}
    for edge, layout in found.items():
        if edge.node not in mixed:
            layouts = apart.setdefault(edge.node, [None] * len(shapes(edge.node)))
            layouts[edge.output] = layout
    return apart


def _parameters(graph: Graph, layouts: Mapping[Node, object]) -> set[Node]:
    """Return the nodes that are functions of parameters alone."""
    sizes: dict[Node, int] = {}
    for node in reversed(graph.order):
        edges = [edge for edge in graph.inputs[node] if edge is not None]
        if node in layouts or not all(e.node in graph.leaves or e.node in sizes for e in edges):
            continue
        below = sum(sizes.get(e.node, prod(graph.shape(e))) for e in edges)
        if sum(map(prod, shapes(node))) <= _MAX_GROWTH * below:
            sizes[node] = below
    return set(sizes)
