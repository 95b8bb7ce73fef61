"""What the engine reads of torch's internals: a change in a new release shows here."""

import torch
from torch import nn

from torchjd._autograd._nodes import edge_of
from torchjd.autojac._graph import walk
from torchjd.autojac._strategy import _largest_cotangent


def test_names_of_nodes():
    net = nn.Linear(2, 3)
    graph = walk([edge_of(net(torch.ones(4, 2)).tanh().sum())])
    assert {"AddmmBackward0", "TanhBackward0", "SumBackward0"} <= graph.names
    assert {id(leaf) for leaf in graph.leaves} == {id(p) for p in net.parameters()}
    leaf = walk([edge_of(net.weight)])
    assert [id(t) for t in leaf.leaves] == [id(net.weight)]


def test_sizes_of_cotangents():
    net = nn.Linear(2, 3)
    node = net(torch.ones(4, 2)).grad_fn
    assert _largest_cotangent(node) == 12
    assert _largest_cotangent(object()) > 1 << 15  # unknown counts as too large


def test_outputs_of_one_node_are_told_apart():
    first, second = (torch.ones(4, requires_grad=True) * 2).chunk(2)
    assert edge_of(first).node is edge_of(second).node
    assert edge_of(first) != edge_of(second)
    assert edge_of(first) == edge_of(first)


def test_meets_later():
    w, v = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    h = w.exp()
    roots = [edge_of(t) for t in (h.sum(), v.exp().sum(), h.prod(), w.sum())]
    # The first meets the third in h; that w is a leaf of the third and of the last is no meeting.
    assert walk(roots).meets_later == [True, False, False, False]
