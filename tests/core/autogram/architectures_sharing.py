"""Parameters used more than once, or only after a computation of their own."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from .architecture import B, function, row, squared, tokens, x

ROWS = x(B, 5)
SQUARE = x(B, B)
CUBE = x(B, B, B)
SIGNAL = x(B, 3, 6)


class Tied(nn.Module):
    """Embedding and head of one weight."""

    def __init__(self, vocabulary: int, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=bias)
        self.head.weight = self.words.weight

    def forward(self, index: Tensor) -> Tensor:
        return self.head(self.mix(self.words(index)).tanh())


def two_modules(bias: bool) -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 5, bias), nn.Tanh(), nn.Linear(5, 5), nn.Tanh())
    model[2].weight = model[0].weight
    return model


class Repeated(nn.Module):
    """A module applied to its own output, ``times`` times."""

    def __init__(self, module: nn.Module, times: int = 2) -> None:
        super().__init__()
        self.module, self.times = module, times

    def forward(self, given: Tensor) -> Tensor:
        for _ in range(self.times):
            given = self.module(given).tanh()
        return given


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.tower(left) - self.tower(right)).tanh()


class DifferentSizes(nn.Module):
    """One weight on whole sequences, on their mean, and elementwise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, given: Tensor) -> Tensor:
        h = self.layer(given).tanh().mean(1)
        return self.layer(h) * self.layer.weight[0] + self.layer.bias.exp()


def autoencoder() -> nn.Module:
    return Functional2(lambda x, w, b, c: (x @ w.T + b).tanh() @ w + c)


class Functional2(nn.Module):
    def __init__(self, of) -> None:
        super().__init__()
        self.of = of
        self.w = nn.Parameter(torch.randn(3, 5))
        self.b, self.c = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(5))

    def forward(self, given: Tensor) -> Tensor:
        return self.of(given, self.w, self.b, self.c)


def deprecated_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 3)), nn.Tanh())


def parametrized(wrap, layer: nn.Module) -> nn.Module:
    return nn.Sequential(wrap(layer), nn.Tanh())


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).mT


def symmetric() -> nn.Module:
    layer = nn.Linear(5, 5)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(layer, nn.Tanh())


class Hyper(nn.Module):
    """A network that makes the weights of another, from parameters alone."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.randn(2))
        self.make = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 15))

    def forward(self, given: Tensor) -> Tensor:
        return (given @ self.make(self.code).view(5, 3)).tanh()


class HyperOfSamples(nn.Module):
    """A network that makes a weight for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Linear(5, 15)

    def forward(self, given: Tensor) -> Tensor:
        return torch.bmm(given[:, None], self.make(given).view(-1, 5, 3)).squeeze(1)


class Experts(nn.Module):
    """A mixture whose experts see only some of the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(5, 3) for _ in range(3)])
        self.gate = nn.Linear(5, 3)

    def forward(self, given: Tensor) -> Tensor:
        scores = self.gate(given).softmax(1)
        found = given.new_zeros(len(given), 3)
        # By position: sample 0 alone, then 1 and 3, then 2; as a router would send them.
        for k, index in enumerate([[0], [1, 3], [2]]):
            here = torch.tensor(index)
            chosen = self.experts[k](given[here]).tanh() * scores[here, k, None]
            found = found.index_add(0, here, chosen)
        return found


def stacked(x: Tensor, *ws: Tensor) -> Tensor:
    return torch.einsum("bi,kij->bkj", x, torch.stack(ws)).tanh()


def gated(x: Tensor, w: Tensor, gate: Tensor) -> Tensor:
    return x + gate * (x @ w).tanh()


def unused_part(x: Tensor, w: Tensor, unused: Tensor) -> Tensor:
    return (x @ w).tanh()


SHARING = [
    row("tied words and head", lambda: Tied(7, 3), tokens(7, B, 5)),
    row("tied words and head, square", lambda: Tied(B, B, bias=True), tokens(B, B, B)),
    row("tied words and head, one token", lambda: Tied(7, 3), tokens(7, B)),
    row("one weight in two modules", lambda: two_modules(bias=False), ROWS),
    row("one weight in two modules, bias of its own", lambda: two_modules(bias=True), ROWS),
    row("tied by transposition", autoencoder, ROWS),
    row("module on its own output", lambda: Repeated(nn.Linear(5, 5)), ROWS),
    row("module on its own output, square", lambda: Repeated(nn.Linear(B, B), 3), SQUARE),
    row("module on its own output, cube", lambda: Repeated(nn.Linear(B, B)), CUBE),
    row("convolution on its own output", lambda: Repeated(nn.Conv1d(3, 3, 3, padding=1)), SIGNAL),
    row("convolution on a shorter output", lambda: Repeated(nn.Conv1d(3, 3, 3)), SIGNAL),
    row("norm on its own output", lambda: Repeated(nn.LayerNorm(5)), ROWS),
    row(
        "encoder layer on its own output",
        lambda: Repeated(nn.TransformerEncoderLayer(6, 2, 5, 0.0, batch_first=True)),
        x(B, 3, 6),
    ),
    row(
        "lstm-like block on its own output",
        lambda: Repeated(nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.PReLU())),
        ROWS,
    ),
    row("twins", Siamese, ROWS, x(B, 5, seed=1)),
    row("one weight, uses of different sizes", lambda: DifferentSizes(5), x(B, 3, 5)),
    row("one weight, uses of different sizes, cube", lambda: DifferentSizes(B), CUBE),
    row("weight norm", lambda: parametrized(parametrizations.weight_norm, nn.Linear(5, 3)), ROWS),
    row(
        "weight norm, square, no bias",
        lambda: parametrized(parametrizations.weight_norm, nn.Linear(B, B, bias=False)),
        SQUARE,
    ),
    row(
        "weight norm of a convolution",
        lambda: parametrized(parametrizations.weight_norm, nn.Conv1d(3, 4, 2)),
        SIGNAL,
    ),
    row("deprecated weight norm", deprecated_weight_norm, ROWS),
    row("orthogonal", lambda: parametrized(parametrizations.orthogonal, nn.Linear(5, 3)), ROWS),
    row(
        "orthogonal, square",
        lambda: parametrized(
            lambda m: parametrizations.orthogonal(m, orthogonal_map="cayley"), nn.Linear(B, B)
        ),
        SQUARE,
    ),
    row(
        "spectral norm in eval",
        lambda: parametrized(parametrizations.spectral_norm, nn.Linear(5, 3)).eval(),
        ROWS,
    ),
    row("symmetric", symmetric, ROWS),
    row("hypernetwork", Hyper, ROWS),
    row("hypernetwork of samples", HyperOfSamples, ROWS),
    row("experts", Experts, ROWS),
    function("exp of a weight", lambda x, w: (x @ w.exp()).tanh(), [(5, 3)], ROWS),
    function("softmax of a weight", lambda x, w: x @ w.softmax(0), [(5, 3)], ROWS),
    function(
        "normalised weight", lambda x, w: F.linear(F.normalize(x), F.normalize(w)), [(3, 5)], ROWS
    ),
    function(
        "slices of a weight",
        lambda x, w: (x[:, :2] @ w[:2] + x[:, 2:] @ w[2:]).tanh(),
        [(5, 3)],
        ROWS,
    ),
    function("columns of a weight", lambda x, w: (x @ w[:, :2]).tanh() @ w[:2, 2:], [(5, 4)], ROWS),
    function("a part of a weight", lambda x, w: (x @ w[1]).tanh(), [(2, 5, 3)], ROWS),
    function("stacked weights", stacked, [(5, 2)] * 3, ROWS),
    function(
        "concatenated weights",
        lambda x, v, w: F.linear(x, torch.cat([v, w])).tanh(),
        [(2, 5), (2, 5)],
        ROWS,
    ),
    function(
        "split weight", lambda x, w: sum((x @ p).tanh() for p in w.chunk(2, 1)), [(5, 4)], ROWS
    ),
    function("gate", gated, [(5, 5), ()], ROWS),
    function("gate of one entry", gated, [(B, B), (1,)], SQUARE),
    function(
        "weight in two kinds of nodes",
        lambda x, w: (x @ w).tanh() * w.mean(0) + w[0],
        [(5, 3)],
        ROWS,
    ),
    function(
        "weight as input and as weight", lambda x, w: torch.mm(x @ w, w).tanh(), [(B, B)], SQUARE
    ),
    function("weight times itself", lambda x, w: (x @ (w @ w)).tanh(), [(B, B)], SQUARE),
    function("weight and its transpose", lambda x, w: (x @ w + x @ w.T).tanh(), [(B, B)], SQUARE),
    function(
        "weight and its reshaping",
        lambda x, w: (x @ w.view(4, 3)).tanh() @ w.view(3, 4),
        [(2, 6)],
        SQUARE,
    ),
    function("weight on both sides", lambda x, w: (w @ x @ w).tanh(), [(B, B)], CUBE),
    function("one vector as gain and as bias", lambda x, w: (x * w + w).tanh(), [(5,)], ROWS),
    function("unused parameter", unused_part, [(5, 3), (7,)], ROWS),
    function(
        "penalty in every loss",
        lambda x, w: squared((x @ w).tanh()) + w.pow(2).sum(),
        [(5, 3)],
        ROWS,
        loss=lambda y: y,
    ),
    function(
        "penalty on one loss",
        lambda x, w: torch.cat([squared((x @ w).tanh())[:-1], w.sin().sum()[None]]),
        [(5, 3)],
        ROWS,
        loss=lambda y: y,
    ),
    function(
        "losses of parameters alone",
        lambda x, w: (x * 0 + w).sin().sum(1),
        [(5,)],
        ROWS,
        loss=lambda y: y,
    ),
]
