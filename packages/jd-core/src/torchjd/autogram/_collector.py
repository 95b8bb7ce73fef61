"""The uses of each parameter, put together, and contracted once all have arrived."""

from collections import Counter
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from torchjd._autograd._nodes import Edge

from ._graph import Graph
from ._parameters import leaves_below, to_leaves
from ._uses._rows import Rows
from ._uses._use import Use
from ._watch import Watch


class Collector:
    """What the uses of the parameters add up to: a Gramian, and what the gradient is made from.

    :param graph: The graph between the losses and the parameters.
    :param expected: How many uses there will be of the tensor at each edge.
    :param inside: The leaves that the Gramian is for; of the others, uses are only kept.
    :param gramian: Zeros, of shape ``[m, m]``, in the dtype and on the device of the Gramian.
    :param keep: The most bytes of a use that are kept, for the weighted gradient.
    :param watch: What looks on.
    """

    def __init__(
        self,
        graph: Graph,
        expected: Mapping[Edge, int],
        inside: Collection[Tensor],
        gramian: Tensor,
        keep: int,
        watch: Watch,
    ) -> None:
        self._graph = graph
        self._expected = Counter(expected)
        self._arriving = Counter(
            id(leaf) for edge in expected for leaf in leaves_below(graph, edge)
        )
        self._inside = {id(leaf) for leaf in inside}
        self._at_edges: dict[Edge, Use] = {}
        self._at_leaves: dict[int, tuple[Tensor, Use]] = {}
        self._device = gramian.device
        self._gramians = {gramian.device: gramian}
        self._keep = keep
        self._watch = watch
        self.kept: list[tuple[Tensor, Use]] = []

    def add(self, edge: Edge, use: Use) -> None:
        """Add a use of the tensor at ``edge``."""
        before = self._at_edges.pop(edge, None)
        self._at_edges[edge] = use if before is None else _sum(before, use)
        self._expected[edge] -= 1
        if self._expected[edge] == 0:
            self._hand_down(edge)

    def finish(self) -> Tensor:
        """Return the Gramian, once there will be no more uses."""
        for edge in list(self._at_edges):  # of which some use had no cotangent
            self._hand_down(edge)
        for leaf, use in list(self._at_leaves.values()):
            self._contract(leaf, use)
        gramian = self._gramians.pop(self._device)
        for other in self._gramians.values():
            gramian += other.to(self._device)
        return gramian

    def _hand_down(self, edge: Edge) -> None:
        for leaf, use in to_leaves(self._graph, edge, self._at_edges.pop(edge)).items():
            before = self._at_leaves.pop(id(leaf), None)
            self._at_leaves[id(leaf)] = leaf, use if before is None else _sum(before[1], use)
            self._arriving[id(leaf)] -= 1
            if self._arriving[id(leaf)] == 0:
                self._contract(leaf, self._at_leaves[id(leaf)][1])

    def _contract(self, leaf: Tensor, use: Use) -> None:
        del self._at_leaves[id(leaf)]
        kept: Use | None = use if use.nbytes() <= self._keep else None
        if id(leaf) in self._inside:
            device = use.tensors()[0].device
            if device not in self._gramians:
                self._gramians[device] = torch.zeros_like(
                    self._gramians[self._device], device=device
                )
            with self._watch.counting([leaf]):
                kept = use.add_gramian(self._gramians[device], self._keep)
        if kept is not None:
            self.kept.append((leaf, kept))


def _sum(one: Use, other: Use) -> Use:
    merged = one.merge(other) or other.merge(one)
    if merged is None:
        rows = one.rows() + other.rows()
        merged = Rows(torch.unflatten(rows, 0, (one.tasks, one.batch)))
    return merged
