"""Products with parameters: linear layers, and matrix products in all their spellings."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import B, by_position, function, row, squared, target, x

SQUARE = x(B, B)
SEQUENCES = x(B, 3, 5)
CUBE = x(B, B, B)


def batch_second(output: Tensor) -> Tensor:
    return squared(output, 1)


def mlp(*sizes: int, bias: bool = True) -> nn.Module:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class TwoHeads(nn.Module):
    """Heads on shared features; ``join`` makes one tensor of what they return."""

    def __init__(self, join):
        super().__init__()
        self.trunk = mlp(3, 5, 4)
        self.heads = nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 1)])
        self.join = join

    def forward(self, given):
        features = self.trunk(given).tanh()
        return self.join([head(features) for head in self.heads])


def entries(output: Tensor) -> Tensor:
    return (output - target(output)).pow(2)


def one_by_one(given: Tensor, weight: Tensor) -> Tensor:
    return torch.stack([(weight @ sample).tanh() for sample in given])


def low_rank(given: Tensor, frozen: Tensor, down: Tensor, up: Tensor) -> Tensor:
    return given @ (frozen.detach() + down @ up)


LINEAR = [
    row("mlp", lambda: mlp(3, 5, 4, 2), x(B, 3)),
    row("mlp without bias", lambda: mlp(3, 5, 4, 2, bias=False), x(B, 3)),
    row("mlp of the batch's size", lambda: mlp(B, B, B, B), SQUARE),
    row("mlp of one output", lambda: mlp(3, 5, 1), x(B, 3), loss=lambda y: y.squeeze(1)),
    row("one sample", lambda: mlp(3, 5, 2), x(1, 3)),
    row("relu with dead units", lambda: nn.Sequential(mlp(3, 6), nn.ReLU(), mlp(6, 2)), x(B, 3)),
    row("sequences", lambda: mlp(5, 6, 2), SEQUENCES),
    row("sequences as long as the batch", lambda: mlp(B, B, B), CUBE),
    row("sequences of one", lambda: mlp(5, 3, 2), x(B, 1, 5)),
    row("images of features", lambda: mlp(5, 4, 2), x(B, 2, 3, 5)),
    row("sequence first", lambda: mlp(5, 6, 2), x(3, B, 5), loss=batch_second),
    row("sequence first, cube", lambda: mlp(B, B, B), CUBE, loss=batch_second),
    row("sample in the middle", lambda: mlp(5, 3), x(2, B, 3, 5), loss=batch_second),
    row(
        "flattened tokens",
        lambda: mlp(5, 6, 2),
        SEQUENCES.flatten(0, 1),
        loss=lambda y: squared(y.view(B, 3, 2)),
    ),
    row(
        "flattened tokens, time major",
        lambda: mlp(5, 6, 2),
        SEQUENCES.flatten(0, 1),
        loss=lambda y: squared(y.view(3, B, 2), 1),
    ),
    row(
        "flattened tokens, square",
        lambda: mlp(B, 6, 2),
        x(B * B, B),
        loss=lambda y: squared(y.view(B, B, 2)),
    ),
    row(
        "flattened tokens, square, time major",
        lambda: mlp(B, 6, 2),
        x(B * B, B),
        loss=lambda y: squared(y.view(B, B, 2), 1),
    ),
    row("mean over tokens", lambda: mlp(B, 6, 3), CUBE, loss=lambda y: squared(y.mean(1))),
    row("last token alone", lambda: mlp(5, 6, 2), SEQUENCES, loss=lambda y: squared(y[:, -1])),
    row(
        "losses [B, 2], stacked",
        lambda: TwoHeads(lambda h: torch.stack(h, 1).squeeze(2)),
        x(B, 3),
        loss=entries,
    ),
    row(
        "losses [B, 2], concatenated",
        lambda: TwoHeads(lambda h: torch.cat(h, 1)),
        x(B, 3),
        loss=entries,
    ),
    row(
        "losses [2, B]",
        lambda: TwoHeads(lambda h: torch.stack(h).squeeze(2)),
        x(B, 3),
        loss=entries,
        batch_dim=1,
    ),
    row(
        "losses [2, B], dim -1",
        lambda: TwoHeads(lambda h: torch.stack(h).squeeze(2)),
        x(B, 3),
        loss=entries,
        batch_dim=-1,
    ),
    row("losses [B, B]", lambda: mlp(3, 5, B), x(B, 3), loss=entries),
    row(
        "losses [B, B], batch second",
        lambda: mlp(3, 5, B),
        x(B, 3),
        loss=lambda y: entries(y).T,
        batch_dim=1,
    ),
    row("losses [B, 2, 3]", lambda: mlp(3, 5, 6), x(B, 3), loss=lambda y: entries(y).view(B, 2, 3)),
    row("losses [2, B, 3]", lambda: mlp(5, 4, 3), x(2, B, 5), loss=entries, batch_dim=1),
    row("losses [B, T]", lambda: mlp(5, 6, 2), SEQUENCES, loss=by_position),
    row("losses [T, B]", lambda: mlp(5, 6, 2), x(3, B, 5), loss=by_position, batch_dim=1),
    row("losses [B, 1]", lambda: mlp(3, 5, 1), x(B, 3), loss=entries),
    row(
        "cross-entropy",
        lambda: mlp(3, 5, 4),
        x(B, 3),
        loss=lambda y: F.cross_entropy(y, torch.arange(B) % 3, reduction="none"),
    ),
    row(
        "cross-entropy with ignored",
        lambda: mlp(3, 5, 4),
        x(B, 3),
        loss=lambda y: F.cross_entropy(y, torch.tensor([0, -100, 2, 1]), reduction="none"),
    ),
    row("bilinear", lambda: nn.Bilinear(3, 5, 2), x(B, 3), x(B, 5)),
    row("bilinear of the batch's size", lambda: nn.Bilinear(B, B, B), SQUARE, x(B, B, seed=1)),
    row("bilinear on sequences", lambda: nn.Bilinear(3, 5, 2), x(B, 3, 3), x(B, 3, 5)),
    function("x @ W", lambda x, w: (x @ w).tanh(), [(3, 5)], x(B, 3)),
    function("x @ W, square", lambda x, w: (x @ w).tanh(), [(B, B)], SQUARE),
    function("x @ W.T", lambda x, w: (x @ w.T).tanh(), [(5, 3)], x(B, 3)),
    function("x @ W.T, square", lambda x, w: (x @ w.T).tanh(), [(B, B)], SQUARE),
    function("W @ x.T", lambda x, w: (w @ x.T).tanh(), [(5, 3)], x(B, 3), loss=batch_second),
    function("W @ x.T, square", lambda x, w: (w @ x.T).tanh(), [(B, B)], SQUARE, loss=batch_second),
    function(
        "W.T @ x.T, square", lambda x, w: (w.T @ x.T).tanh(), [(B, B)], SQUARE, loss=batch_second
    ),
    function("x @ w", lambda x, w: x @ w, [(3,)], x(B, 3)),
    function("sequences @ w", lambda x, w: x @ w, [(5,)], SEQUENCES),
    function("sequences @ W, cube", lambda x, w: (x @ w).tanh(), [(B, B)], CUBE),
    function("W @ sequences", lambda x, w: (w @ x).tanh(), [(2, 3)], SEQUENCES),
    function("W @ sequences, cube", lambda x, w: (w @ x).tanh(), [(B, B)], CUBE),
    function("w @ sequences", lambda x, w: (w @ x).tanh(), [(3,)], SEQUENCES),
    function("einsum of features", lambda x, w: torch.einsum("bi,ij->bj", x, w), [(3, 5)], x(B, 3)),
    function("einsum over tokens", lambda x, w: torch.einsum("bti,ij->btj", x, w), [(B, B)], CUBE),
    function(
        "einsum by position",
        lambda x, w: torch.einsum("bti,tij->btj", x, w).tanh(),
        [(3, 5, 2)],
        SEQUENCES,
    ),
    function(
        "einsum by position, cube",
        lambda x, w: torch.einsum("bti,tij->btj", x, w).tanh(),
        [(B, B, B)],
        CUBE,
    ),
    function(
        "einsum by head", lambda x, w: torch.einsum("bti,hij->bhtj", x, w).tanh(), [(B, B, 2)], CUBE
    ),
    function(
        "einsum over time", lambda x, w: torch.einsum("bti,ts->bsi", x, w).tanh(), [(B, B)], CUBE
    ),
    function(
        "einsum to a quadratic form",
        lambda x, w: torch.einsum("bi,ij,bj->b", x, w, x),
        [(3, 3)],
        x(B, 3),
    ),
    function(
        "tensordot",
        lambda x, w: torch.tensordot(x, w, dims=([1, 2], [0, 1])),
        [(3, 5, 2)],
        SEQUENCES,
    ),
    function(
        "bmm with an expanded weight",
        lambda x, w: torch.bmm(x, w.expand(B, -1, -1)),
        [(5, 2)],
        SEQUENCES,
    ),
    function(
        "bmm with an expanded weight, cube",
        lambda x, w: torch.bmm(w.expand(B, -1, -1), x),
        [(B, B)],
        CUBE,
    ),
    function("bmm with a weight for each sample", torch.bmm, [(B, 5, 2)], SEQUENCES),
    function(
        "baddbmm",
        lambda x, w, b: torch.baddbmm(b, x, w.expand(B, -1, -1), beta=0.5, alpha=2),
        [(5, 2), (1, 3, 2)],
        SEQUENCES,
    ),
    function(
        "addmm with factors",
        lambda x, w, b: torch.addmm(b, x, w, beta=0.5, alpha=2.0),
        [(3, 5), (5,)],
        x(B, 3),
    ),
    function(
        "addmm with a bias for each sample",
        lambda x, w, b: torch.addmm(b, x, w),
        [(3, 5), (B, 5)],
        x(B, 3),
    ),
    function(
        "addmm with one bias",
        lambda x, w, b: torch.addmm(b, x, w).tanh(),
        [(3, B), (B, 1)],
        x(B, 3),
    ),
    function("addmv", lambda x, w, b: torch.addmv(b, x, w).tanh(), [(3,), (1,)], x(B, 3)),
    function("samples one by one", one_by_one, [(5, 3)], x(B, 3)),
    function("functional linear", lambda x, w, b: F.linear(x, w, b).tanh(), [(B, B), (B,)], CUBE),
    function("functional bilinear", lambda x, w: F.bilinear(x, x, w), [(2, 3, 3)], x(B, 3)),
    function("low rank", low_rank, [(3, 5), (3, 2), (2, 5)], x(B, 3)),
    function(
        "product of parameters", lambda x, v, w: (x @ (v @ w)).tanh(), [(B, 2), (2, B)], SQUARE
    ),
    function(
        "matrix chain", lambda x, v, w: torch.linalg.multi_dot([x, v, w]), [(3, 5), (5, 2)], x(B, 3)
    ),
    function("outer product", lambda x, w: (x[:, :, None] * w).tanh(), [(5,)], x(B, 3)),
    function("inner products", lambda x, w: F.cosine_similarity(x, w, dim=1), [(3,)], x(B, 3)),
    function("transposed features", lambda x, w: (x.mT @ w).tanh(), [(3, 2)], SEQUENCES),
    function("transposed features, cube", lambda x, w: (x.mT @ w).mT.tanh(), [(B, B)], CUBE),
]
