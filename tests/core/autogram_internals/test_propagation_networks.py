"""Where samples sit: several outputs, what must not be proved, and whole networks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node, saved_tensors_hooks

from torchjd.autogram._layout import Layout
from torchjd.autogram._propagation import propagate
from torchjd.autogram._propagation._propagate import _JOINT, _RULES

from .test_propagation import check_truth, nodes, outer

SEVERAL: dict[str, tuple[Callable[[Any], Any], list[Layout | None], Layout | None]] = {
    "split": (lambda x: x.split(1, 1), [outer(0)] * 3, outer(0)),
    "split, one used": (lambda x: x.split(1, 1), [None, outer(0), None], outer(0)),
    "split with sizes": (lambda x: x.split([1, 2], -1), [outer(1)] * 2, outer(1)),
    "split of samples": (lambda x: x.split([3, 0], 0), [outer(0)] * 2, outer(0)),
    "split of some samples": (lambda x: x.repeat(2, 1, 1).split(3), [outer(0)] * 2, None),
    "unsafe split": (lambda x: x.unsafe_split(1, -1), [outer(1)] * 3, outer(1)),
    "unbind": (lambda x: x.unbind(1), [outer(1)] * 3, outer(2)),
    "unbind, apart": (lambda x: x.unbind(1), [outer(1), outer(0), None], None),
    "unused": (lambda x: x.unbind(1), [None, None, None], None),
    "variance and mean": (lambda x: torch.var_mean(x, 1), [outer(0)] * 2, outer(0)),
    "extremes": (lambda x: torch.aminmax(x, dim=0), [outer(1)] * 2, outer(2)),
    "determinant": (torch.linalg.slogdet, [None, outer(0), None, None], outer(0)),
    "eigenvectors": (torch.linalg.eigh, [outer(0)] * 2, outer(0)),
}


# Kinds of nodes that the lowest release of torch does not have yet.
NEWER = {"AminmaxBackward0", "NarrowCopyBackward0", "UpsampleLanczos2DAaBackward0"}
if "AminmaxBackward0" not in dir(torch._C._functions):
    del SEVERAL["extremes"]


@pytest.mark.parametrize("name", SEVERAL)
def test_joins_the_layouts_of_several_outputs(name: str) -> None:
    build, layouts, expected = SEVERAL[name]
    torch.manual_seed(0)
    outputs = build(torch.randn(3, 3, 3, dtype=torch.float64, requires_grad=True))
    node = outputs[1].grad_fn
    layouts = layouts[: len(node._input_metadata)]
    assert propagate(node, layouts, 3) == (None if expected is None else {0: expected})
    check_truth(node, layouts, 3)


def lstm_node(states: bool) -> Node:
    """Return the node of an LSTM of four steps of three samples."""
    torch.manual_seed(0)
    x, h, c = (
        torch.randn(size, 3, 3, requires_grad=needed)
        for size, needed in ((4, True), (1, states), (1, states))
    )
    output, _ = nn.LSTM(3, 3)(x, (h, c))
    return next(
        node for node in nodes(output.grad_fn) if type(node).__name__ == "MkldnnRnnLayerBackward0"
    )


def test_an_lstm_keeps_the_samples_of_its_sequence_and_of_its_states_apart() -> None:
    node = lstm_node(states=True)
    expected = {0: outer(1), 5: outer(0), 6: outer(0)}
    for layouts in ([outer(1), outer(0), outer(0)], [outer(1), None, None], [None, outer(0), None]):
        assert propagate(node, layouts, 3) == expected
        assert check_truth(node, layouts, 3)
    # The last dimension of a state is as large as the batch, and samples do not sit there.
    assert propagate(node, [outer(1), outer(1), None], 3) is None
    assert propagate(lstm_node(states=False), [outer(1), None, None], 3) == {0: outer(1)}


def followers_of(start: Node) -> dict[Node, int]:
    """Return how many edges lead to each node of a graph."""
    found: dict[Node, int] = {}
    for node in nodes(start):
        for source, _ in node.next_functions:
            if source is not None:
                found[source] = found.get(source, 0) + 1
    return found


def trail(losses: Tensor, goal: Tensor, batch: int) -> tuple[list[str], Layout | None]:
    """Propagate from ``losses`` to ``goal``; return what could not be, and what arrived there.

    Nodes are taken once all nodes behind them were; what only parameters reach is left aside.
    """
    assert losses.grad_fn is not None
    followers = followers_of(losses.grad_fn)
    layouts: dict[Node, list[Layout | None]] = {losses.grad_fn: [outer(0)]}
    refused = []
    ready = [losses.grad_fn]
    arrived = None
    while ready:
        node = ready.pop()
        mine = layouts[node]
        if getattr(node, "variable", None) is goal:
            arrived = mine[0]
        proved = propagate(node, mine, batch) if any(mine) and node.next_functions else {}
        if proved is None:
            refused.append(type(node).__name__)
        for index, (source, number) in enumerate(node.next_functions):
            if source is None:
                continue
            places = layouts.setdefault(source, [None] * len(source._input_metadata))
            place = (proved or {}).get(index, places[number])
            assert places[number] in (None, place)
            places[number] = place
            followers[source] -= 1
            if followers[source] == 0:
                ready.append(source)
    return refused, arrived


class Twice(torch.autograd.Function):
    """A function of a user, whose backward may do anything."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


class MulBackward0(torch.autograd.Function):
    """A function of a user that is named as a node is."""

    forward = Twice.forward
    backward = Twice.backward


def overwritten(x: Tensor) -> Tensor:
    y = x.clone()
    y[0] = y[0] * 2
    return y


NEVER: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a function of a user": (Twice.apply, "TwiceBackward"),
    "a function of a user, named as a node": (MulBackward0.apply, "MulBackward0Backward"),
    "an index that changes nothing": (lambda x: x[torch.arange(3)], "IndexBackward0"),
    "a choice that changes nothing": (
        lambda x: x.index_select(0, torch.arange(3)),
        "IndexSelectBackward0",
    ),
    "a gather that changes nothing": (
        lambda x: x.gather(0, torch.arange(3)[:, None].expand(3, 3)),
        "GatherBackward0",
    ),
    "a flip": (lambda x: x.flip(0), "FlipBackward0"),
    "a roll by nothing": (lambda x: x.roll(0, 0), "RollBackward0"),
    "a mask of all": (
        lambda x: x.masked_select(torch.ones(3, 3, dtype=torch.bool)).view(3, 3),
        "MaskedSelectBackward0",
    ),
    "an in-place change of some": (overwritten, "CopySlices"),
    "strides": (lambda x: x.as_strided((3, 3), (3, 1)), "AsStridedBackward0"),
    "a softmax over samples": (lambda x: x.softmax(0), "SoftmaxBackward0"),
    "a sum so far": (lambda x: x.cumsum(0), "CumsumBackward0"),
    "samples in another order": (lambda x: x.sort(0).values, "SortBackward0"),
    "samples put together": (lambda x: torch.cat([x, x])[:3], "SliceBackward0"),
}


@pytest.mark.parametrize("name", NEVER)
def test_never_proves_what_values_decide_or_what_it_does_not_know(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 3, requires_grad=True)
    function, kind = NEVER[name]
    refused, arrived = trail(function(x).sum(-1), x, 3)
    assert refused == [kind]
    assert arrived is None


@pytest.mark.parametrize("mixing", [torch.eye(3), torch.zeros(3, 3), torch.ones(3, 3)])
def test_a_matrix_in_front_mixes_samples_whatever_is_in_it(mixing: Tensor) -> None:
    x = torch.randn(3, 4, requires_grad=True)
    node = (mixing @ x).grad_fn
    # The samples must not sit in the rows of `x`: the gradient of each row sums over samples.
    assert node is not None
    assert propagate(node, [outer(0)], 3) == {}


def test_knows_nodes_of_this_torch_only_and_none_of_a_user() -> None:
    known = {*_RULES, *_JOINT}
    assert known - set(dir(torch._C._functions)) <= NEWER
    assert not any(name.endswith("Backward") for name in known)


# Kinds of nodes that only other devices make, with tensors that have no values.
ELSEWHERE: dict[
    str, tuple[Callable[..., Any], list[tuple[int, ...]], Layout, dict[int, Layout]]
] = {
    "cuDNN LSTM": (
        lambda x, w, v, h, c: torch.ops.aten._cudnn_rnn(
            x, [w, v], 2, None, h, c, 2, 4, 0, 1, False, 0.0, True, False, [], None
        ),
        [(7, 3, 5), (16, 5), (16, 4), (1, 3, 4), (1, 3, 4)],
        outer(1),
        {0: outer(1), 3: outer(1), 4: outer(1)},
    ),
    "cuDNN LSTM, batch first": (
        lambda x, w, v, h, c: torch.ops.aten._cudnn_rnn(
            x, [w, v], 2, None, h, c, 2, 4, 0, 1, True, 0.0, True, False, [], None
        ),
        [(3, 7, 5), (16, 5), (16, 4), (1, 3, 4), (1, 3, 4)],
        outer(0),
        {0: outer(0), 3: outer(1), 4: outer(1)},
    ),
    "fused LSTM cell": (
        torch.ops.aten._thnn_fused_lstm_cell,
        [(3, 16), (3, 16), (3, 4), (16,), (16,)],
        outer(0),
        {0: outer(0), 1: outer(0), 2: outer(0)},
    ),
    "efficient attention": (
        lambda q, k, v, mask: torch.ops.aten._scaled_dot_product_efficient_attention(
            q, k, v, mask.expand(3, 2, 6, 6), True
        ),
        [(3, 2, 6, 8), (3, 2, 6, 8), (3, 2, 6, 8), (6, 6)],
        outer(0),
        {index: outer(0) for index in range(4)},
    ),
    "flash attention": (
        torch.ops.aten._scaled_dot_product_flash_attention,
        [(3, 2, 6, 8)] * 3,
        outer(0),
        {index: outer(0) for index in range(3)},
    ),
    "cuDNN batch norm of an instance norm": (
        lambda x, w, b: torch.ops.aten.cudnn_batch_norm(x, w, b, None, None, True, 0.1, 1e-5),
        [(1, 12, 5, 5), (12,), (12,)],
        outer(1),
        {0: outer(1), 1: outer(0), 2: outer(0)},
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_knows_the_inputs_of_nodes_that_only_other_devices_make(name: str) -> None:
    build, shapes, layout, expected = ELSEWHERE[name]
    tensors = [torch.empty(shape, device="meta", requires_grad=True) for shape in shapes]
    output = build(*tensors)[0]
    node = output.grad_fn
    others = len(node._input_metadata) - 1
    assert propagate(node, [layout] + [None] * others, 3) == expected


class Attentive(nn.Module):
    """Attention with samples in the second dimension, over embedded tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, 6))
        self.attention = nn.MultiheadAttention(6, 3)

    def forward(self, x: Tensor) -> Any:
        x = torch.cat([self.first.repeat(3, 1, 1), x], 1).transpose(0, 1)
        return self.attention(x, x, x)[0][0]


class Recurrent(nn.Module):
    """Recurrent layers one behind the other."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)[0][:, -1]


def images(*layers: nn.Module) -> nn.Sequential:
    """Return a network of images of two channels."""
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), *layers, nn.Flatten(), nn.LazyLinear(6))


SEQUENCE = (3, 3, 6)
IMAGE = (3, 2, 6, 6)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda: nn.Sequential(nn.Linear(6, 3), nn.GELU(), nn.Linear(3, 6)), (3, 6)),
    "sequence": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Flatten(), nn.Linear(18, 6)),
        SEQUENCE,
    ),
    "transformer": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(6, 2, 6, batch_first=True), nn.Flatten(), nn.Linear(18, 6)
        ),
        SEQUENCE,
    ),
    "transformer, pre-norm": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(6, 2, 6, 0.0, "gelu", batch_first=True, norm_first=True),
            nn.RMSNorm(6),
            nn.Flatten(),
            nn.Linear(18, 6),
        ),
        SEQUENCE,
    ),
    "attention": (Attentive, SEQUENCE),
    "LSTM": (lambda: Recurrent(nn.LSTM(6, 6, 2, batch_first=True, bidirectional=True)), SEQUENCE),
    "GRU": (lambda: Recurrent(nn.GRU(6, 6, 2, batch_first=True)), SEQUENCE),
    "RNN": (lambda: Recurrent(nn.RNN(6, 6, batch_first=True)), SEQUENCE),
    "max pool": (lambda: images(nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3)), IMAGE),
    "adaptive pool": (lambda: images(nn.SiLU(), nn.AdaptiveAvgPool2d(3)), IMAGE),
    "global pool": (lambda: images(nn.PReLU(6), nn.AdaptiveAvgPool2d(1)), IMAGE),
    "group norm": (lambda: images(nn.GroupNorm(3, 6), nn.ELU()), IMAGE),
    "instance norm": (lambda: images(nn.InstanceNorm2d(6, affine=True)), IMAGE),
    "frozen batch norm": (lambda: images(nn.BatchNorm2d(6).eval()), IMAGE),
    "upsampling": (lambda: images(nn.Upsample(scale_factor=2), nn.ConvTranspose2d(6, 2, 2)), IMAGE),
    "unfolding": (lambda: images(nn.PixelShuffle(1), nn.Unfold(2)), IMAGE),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss", ["classes", "distances", "norms"])
def test_follows_the_samples_through_common_networks(name: str, loss: str) -> None:
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    network, x = build(), torch.randn(shape, requires_grad=True)
    output = network(x)
    choices: dict[str, Callable[[], Tensor]] = {
        "classes": lambda: F.cross_entropy(
            output, torch.arange(3), label_smoothing=0.1, reduction="none"
        ),
        "distances": lambda: F.mse_loss(output, torch.ones_like(output), reduction="none").mean(-1),
        "norms": lambda: F.cosine_similarity(output, torch.ones_like(output)) + output.norm(dim=1),
    }
    refused, arrived = trail(choices[loss](), x, 3)
    assert refused == []
    assert arrived == outer(0)


def test_reads_no_saved_tensor() -> None:
    def refuse(_packed: Tensor) -> Tensor:
        raise AssertionError("A saved tensor was read.")

    for build, shape in NETWORKS.values():
        x = torch.randn(shape, requires_grad=True)
        with saved_tensors_hooks(lambda tensor: tensor, refuse):
            losses = build()(x).square().mean(-1)
        assert trail(losses, x, 3) == ([], outer(0))
