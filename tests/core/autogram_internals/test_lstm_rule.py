"""The rule for an LSTM layer in one node gives the rows that autograd gives."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from torchjd.autogram._layout import Layout
from torchjd.autogram._rules import _lstm
from torchjd.autogram._rules._call import Call
from torchjd.autogram._rules._lstm import _READS, mkldnn_lstm
from torchjd.autogram._uses._use import Use
from torchjd.testing import assert_close

_T, _BATCH, _D, _H = 5, 3, 4, 6
_KIND = "MkldnnRnnLayerBackward0"
_LAYOUTS = (Layout(1), Layout(0), Layout(0))

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="no LSTM layer is one node without oneDNN"
)


def _losses(outputs: tuple[Tensor, ...], tasks: int) -> Tensor:
    """Return losses ``[tasks, batch]`` of tensors whose dimension 1 runs over the samples."""
    generator = torch.Generator().manual_seed(7)
    total = torch.zeros(tasks, outputs[0].shape[1], dtype=outputs[0].dtype)
    for output in outputs:
        weights = torch.randn(tasks, *output.shape, generator=generator).to(output.dtype)
        total = total + (weights * (output + output.square())).sum((1, 3))
    return total


def _walk(losses: Tensor) -> list[Node]:
    """Return the nodes of the kind that the rule is for."""
    seen, todo = set(), [losses.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(following for following, _ in node.next_functions)
    return [node for node in seen if type(node).__name__ == _KIND]


def _call(node: Node, losses: Tensor, wanted: dict[int, torch.Size]) -> Call:
    """Return what the engine would hand to the rule."""
    edges = [GradientEdge(node, i) for i in range(3)]
    each = [
        torch.autograd.grad(loss.sum(), edges, retain_graph=True, allow_unused=True)
        for loss in losses
    ]
    cotangents = [
        None if parts[0] is None else torch.stack(parts) for parts in zip(*each, strict=True)
    ]
    layouts = [None if c is None else at for c, at in zip(cotangents, _LAYOUTS, strict=True)]
    return Call(node, *losses.shape, cotangents, layouts, wanted, torch.float32)


def _uses(losses: Tensor) -> Iterator[tuple[Tensor, Use]]:
    """Apply the rule to all nodes, and return the use of each parameter."""
    for node in _walk(losses):
        leaves = {
            i: following.variable
            for i, (following, _) in enumerate(node.next_functions)
            if type(following).__name__ == "AccumulateGrad" and 1 <= i <= 4
        }
        found = mkldnn_lstm(_call(node, losses, {i: p.shape for i, p in leaves.items()}))
        assert found is not None
        assert found.keys() == leaves.keys()
        yield from ((leaves[i], use) for i, use in found.items())


def _rows(losses: Tensor, parameter: Tensor) -> Tensor:
    flat = losses.flatten()
    return torch.stack(
        [torch.autograd.grad(loss, parameter, retain_graph=True)[0] for loss in flat]
    )


def _net(**options: object) -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(_D, _H, **options)


def _oracle(net: nn.LSTM, **options: object) -> nn.LSTM:
    """Return the same network in float64, which torch unrolls in nodes of its own."""
    oracle = nn.LSTM(_D, _H, dtype=torch.float64, **options)
    oracle.load_state_dict(net.state_dict())
    return oracle


def _forward(net: nn.LSTM, x: Tensor, states: tuple[Tensor, Tensor] | None = None) -> list[Tensor]:
    """Return the output, with the time in front, and the last states."""
    output, (h, c) = net(x, states)
    return [output.transpose(0, 1) if net.batch_first else output, h, c]


@pytest.mark.parametrize("given", [(0,), (1,), (2,), (0, 1, 2)], ids=["output", "hy", "cy", "all"])
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"batch_first": True},
        {"bidirectional": True},
        {"num_layers": 2, "bidirectional": True, "batch_first": True},
    ],
    ids=str,
)
def test_rows(options, tasks, given):
    net = _net(**options)
    x = torch.randn(_T, _BATCH, _D)
    x = x.transpose(0, 1) if net.batch_first else x
    outputs, oracle = _forward(net, x), _oracle(net, **options)
    losses = _losses(tuple(outputs[i] for i in given), tasks)
    outputs = _forward(oracle, x.double())
    right = _losses(tuple(outputs[i] for i in given), tasks)
    assert not _walk(right)

    names = {id(p): name for name, p in net.named_parameters()}
    found = {names[id(p)]: (p, use) for p, use in _uses(losses)}
    reached = [
        name
        for name, p in net.named_parameters()
        if torch.autograd.grad(losses.sum(), p, retain_graph=True, allow_unused=True)[0] is not None
    ]
    assert sorted(found) == sorted(reached)
    for name, (p, use) in found.items():
        assert_close(use.rows(), _rows(losses, p))
        assert_close(use.rows(), _rows(right, oracle.get_parameter(name)))


@pytest.mark.parametrize("tasks", [1, 3])
def test_gramian_and_weighted_gradient(tasks):
    net = _net(num_layers=2, bidirectional=True)
    losses = _losses(tuple(_forward(net, torch.randn(_T, _BATCH, _D))), tasks)
    weights = torch.rand(tasks, _BATCH)
    for p, use in _uses(losses):
        matrix = _rows(losses, p).double().flatten(1)
        gramian = torch.zeros(use.m, use.m)
        kept = use.add_gramian(gramian, keep=1 << 30)
        assert_close(gramian, matrix @ matrix.T)
        assert kept is not None
        assert_close(kept.weighted(weights).flatten(), matrix.T @ weights.double().flatten())


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("tasks", [1, 3])
def test_states_that_require_grad(tasks, bidirectional):
    net = _net(bidirectional=bidirectional)
    x = torch.randn(_T, _BATCH, _D, requires_grad=True)
    shape = (1 + bidirectional, _BATCH, _H)
    h, c = (torch.randn(shape, requires_grad=True) for _ in range(2))
    losses = _losses(tuple(_forward(net, x, (h, c))), tasks)
    for p, use in _uses(losses):
        assert_close(use.rows(), _rows(losses, p))


@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (1, 1)])
@pytest.mark.parametrize("reverse", [False, True])
def test_single_step_and_single_sample(shape, reverse):
    net = _net(bidirectional=reverse)
    losses = _losses(tuple(_forward(net, torch.randn(*shape, _D))), tasks=1)
    for p, use in _uses(losses):
        assert_close(use.rows(), _rows(losses, p))


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_initial_states_made_of_parameters(tasks, bidirectional):
    net = _net(bidirectional=bidirectional)
    # What an unbind of learned states gives: one tensor for each direction.
    states = [torch.randn(1, _BATCH, _H, requires_grad=True) for _ in range(2)]
    h, c = (s.expand(1 + bidirectional, -1, -1) for s in states)
    losses = _losses(tuple(_forward(net, torch.randn(_T, _BATCH, _D), (h, c))), tasks)
    found = [torch.zeros(()), torch.zeros(())]
    for node in _walk(losses):
        uses = mkldnn_lstm(_call(node, losses, dict.fromkeys((5, 6), torch.Size((_BATCH, _H)))))
        assert uses is not None
        assert uses.keys() == {5, 6}
        found = [total + uses[i].rows() for i, total in zip((5, 6), found, strict=True)]
    for rows, state in zip(found, states, strict=True):
        assert_close(rows.unsqueeze(1), _rows(losses, state))


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("tasks", [1, 2])
def test_samples_of_several_sequences(tasks, inner):
    net = _net()
    # Each sample owns two of the sequences, side by side or a batch apart.
    x, states = torch.randn(_T, 2 * _BATCH, _D), torch.randn(1, 2 * _BATCH, _H, requires_grad=True)
    every = _losses(tuple(_forward(net, x, (states, torch.zeros_like(states)))), tasks)
    split = (2, _BATCH) if inner else (_BATCH, 2)
    losses = every.unflatten(1, split).sum(1 if inner else 2)
    (node,) = _walk(losses)
    parameters = dict(enumerate([*net.parameters(), states], start=1))
    wanted = {i: p.shape for i, p in parameters.items()}
    call = _call(node, losses, {**wanted, 5: states.shape[1:]})
    call.layouts = [Layout(1, inner), Layout(0, inner), Layout(0, inner)]
    found = mkldnn_lstm(call)
    assert found is not None
    for i, p in parameters.items():
        assert_close(found[i].rows().view(-1, *p.shape), _rows(losses, p))


@pytest.mark.parametrize("size", [6, 64, 128])
@pytest.mark.parametrize("kept", [True, False], ids=["any gates kept", "no gates kept"])
def test_gates_kept_by_the_node_or_not(monkeypatch, kept, size):
    if not kept:
        monkeypatch.setattr(_lstm, "_kept_activations", lambda *_: None)
    torch.manual_seed(0)
    net = nn.LSTM(_D, size, bidirectional=True)
    losses = _losses(tuple(_forward(net, torch.randn(_T, _BATCH, _D))), tasks=2)
    for p, use in _uses(losses):
        assert_close(use.rows(), _rows(losses, p))


def _stranger(call: Call, **change: object) -> SimpleNamespace:
    """Return a node that saved the same but for ``change``; None leaves a name out."""
    saved = {name: call.saved(name) for name in _READS} | change
    members = {f"_saved_{name}": value for name, value in saved.items() if value is not None}
    return type("Other", (SimpleNamespace,), members)()


def _exchanged(space: Tensor, first: int, second: int) -> Tensor:
    """Return a workspace with two gates in each other's place, if it has rows of 32 numbers."""
    space = space.clone()
    rows = space[: 4 * 32 * _T * _BATCH].view(torch.float32).view(-1, 32)[:, : 4 * _H]
    gates = rows.unflatten(1, (4, _H))
    gates[:, [first, second]] = gates[:, [second, first]]
    return space


@pytest.mark.parametrize(
    "spoil",
    [
        torch.zeros_like,
        lambda space: space[:8],
        lambda space: space.view(torch.float32).fill_(torch.nan).view(torch.uint8),
        lambda space: space.flip(0),
        lambda space: _exchanged(space, 0, 2),
        lambda space: _exchanged(space, 0, 1),
        lambda space: _exchanged(space, 1, 3),
    ],
    ids=["zeros", "short", "nan", "flipped", "i and g", "i and f", "f and o"],
)
def test_a_workspace_of_another_layout_is_not_believed(spoil):
    call = _plain_call()
    right = mkldnn_lstm(call)
    call.node = _stranger(call, result3=spoil(call.saved("result3").clone()))
    found = mkldnn_lstm(call)
    for i in (1, 3):
        assert_close(found[i].rows(), right[i].rows())


def test_a_workspace_wrong_where_it_was_not_checked_is_not_believed(monkeypatch):
    monkeypatch.setattr(_lstm, "_SPOTS", 1)
    call = _plain_call()
    right = mkldnn_lstm(call)
    space = call.saved("result3").clone()
    space[4 * 32 :].zero_()
    call.node = _stranger(call, result3=space)
    found = mkldnn_lstm(call)
    for i in (1, 3):
        assert_close(found[i].rows(), right[i].rows())


def _plain_call(net: nn.LSTM | None = None, dtype: torch.dtype = torch.float32) -> Call:
    net = (_net() if net is None else net).to(dtype)
    losses = _losses(tuple(_forward(net, torch.randn(_T, _BATCH, _D, dtype=dtype))), tasks=1)
    (node,) = _walk(losses)
    return _call(node, losses, {1: net.weight_ih_l0.shape, 3: net.bias_ih_l0.shape})


def test_gives_what_is_wanted_alone_and_changes_nothing():
    call = _plain_call()
    before = [c.clone() for c in call.cotangents]
    first, second = mkldnn_lstm(call), mkldnn_lstm(call)
    assert first.keys() == second.keys() == {1, 3}
    assert all(torch.equal(first[i].rows(), second[i].rows()) for i in first)
    assert all(torch.equal(a, b) for a, b in zip(before, call.cotangents, strict=True))
    assert not any(tensor.requires_grad for use in first.values() for tensor in use.tensors())


def test_computes_in_the_dtype_asked_for():
    call = _plain_call()
    call.dtype = torch.float64
    assert all(use.rows().dtype == torch.float64 for use in mkldnn_lstm(call).values())


def test_leaves_reduced_precision_to_the_fallback():
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("no LSTM layer in bfloat16 on this processor")
    call = _plain_call(dtype=torch.bfloat16)
    assert mkldnn_lstm(call) is None


@pytest.mark.parametrize(
    "change",
    [
        {"wanted": {0: torch.Size((_T, _BATCH, _D))}},
        {"layouts": [Layout(0), Layout(0), Layout(0)]},
        {"layouts": [Layout(1), None, Layout(0)]},
        {"batch": 2},
        {"cotangents": [None, None, None]},
    ],
    ids=["input", "samples in time", "samples unknown", "not divisible", "no cotangent"],
)
def test_leaves_to_the_fallback(change):
    call = _plain_call()
    assert mkldnn_lstm(call) is not None
    for name, value in change.items():
        setattr(call, name, value)
    assert mkldnn_lstm(call) is None


@pytest.mark.parametrize(
    "change",
    [
        {"mode": 3},
        {"batch_sizes": (3, 2)},
        {"hidden_size": 2 * _H},
        {"mode": None},
    ],
    ids=["another layer", "packed", "projected", "renamed"],
)
def test_leaves_other_nodes_to_the_fallback(change):
    call = _plain_call()
    call.node = _stranger(call, **change)
    assert mkldnn_lstm(call) is None


@pytest.mark.parametrize("name", _READS)
def test_names_that_torch_gives_to_what_the_node_saves(name):
    assert _plain_call().has(name)


def test_order_of_inputs_and_outputs():
    net = _net()
    output, (h, c) = net(torch.randn(_T, _BATCH, _D))
    node = output.grad_fn
    assert type(node).__name__ == _KIND
    leaves = [getattr(following, "variable", None) for following, _ in node.next_functions]
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert [id(leaf) for leaf in leaves[1:5]] == [id(net.get_parameter(name)) for name in names]
    assert len(leaves) == 7
    assert [stack.grad_fn.next_functions[0] for stack in (h, c)] == [(node, 1), (node, 2)]
