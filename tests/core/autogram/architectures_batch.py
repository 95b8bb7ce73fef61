"""Samples that are joined, repeated, chosen, or hidden among other dimensions on their way."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import B, function, row, squared, x

WEIGHT, BIAS = (5, 4), (4,)
ROWS, OTHERS, SIX = x(B, 5), x(B, 5, seed=1), x(6, 5)


def layer(given: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return (given @ weight + bias).tanh()


def twins(left: Tensor, right: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Both through one call, one batch behind the other."""
    first, second = layer(torch.cat([left, right]), w, b).chunk(2)
    return first * second.exp()


def interleaved_twins(left: Tensor, right: Tensor, w: Tensor, b: Tensor) -> Tensor:
    together = torch.stack([left, right], 1).flatten(0, 1)
    h = layer(together, w, b)
    return h[0::2] * h[1::2].exp()


def stacked_twins(left: Tensor, right: Tensor, w: Tensor, b: Tensor) -> Tensor:
    first, second = layer(torch.stack([left, right]), w, b)
    return first * second.exp()


def with_negatives(left: Tensor, right: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """A constant reference sample for all, whose features all losses share."""
    h = layer(torch.cat([left, right[:1]]), w, b)
    return h[:-1] * h[-1]


def repeated(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    noise = x(3, 1, 1).to(given)
    return layer((given[None] + noise).flatten(0, 1), w, b).view(3, len(given), -1).mean(0)


def interleaved(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = layer(given, w, b).repeat_interleave(3, 0)
    return h.view(len(given), 3, -1).cumsum(1)


def tiled(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = layer(given, w, b).repeat(3, 1) * x(3 * len(given), 1).to(given)
    return h.view(3, len(given), -1).transpose(0, 1)


def padded(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    more = torch.cat([given, torch.ones(2, given.shape[1], dtype=given.dtype)])
    return layer(more, w, b)[: len(given)]


def products(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = layer(given, w, b)
    return (h @ h.T.exp()).diagonal()


def as_features(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Samples as columns, through functions that treat rows."""
    columns = layer(given, w, b).T.contiguous()
    return F.softmax(columns, 0).log().T


def as_channels(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    planes = layer(given, w, b).view(1, len(given), 2, 2)
    return F.avg_pool2d(F.interpolate(planes, scale_factor=2.0), 2).view(len(given), -1)


def in_one_vector(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    flat = layer(given, w, b).flatten()
    return (flat * torch.arange(len(flat)).to(flat).sin()).view(len(given), -1).cumsum(1)


def in_two_dimensions(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Four samples as two rows of two."""
    square = layer(given, w, b).view(2, 2, -1)
    return torch.stack([square.sin(), square.cos()], 2).view(len(given), 2, -1)


def turned(given: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Samples in the order (0, 2, 1, 3) and back."""
    h = layer(given, w, b).view(2, 2, -1).transpose(0, 1).reshape(len(given), -1).tanh()
    return h.view(2, 2, -1).transpose(0, 1).reshape(len(given), -1)


def chosen(*which: int):
    index = torch.tensor(which)
    return lambda y: squared(y)[index]


class Routed(nn.Module):
    """Samples sorted by where they go, computed in groups, and put back."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, 4), nn.Linear(5, 4)])

    def forward(self, given: Tensor) -> Tensor:
        order = torch.tensor([2, 0, 3, 1])
        parts = given[order].split([3, 1])
        joined = torch.cat([layer(p).tanh() for layer, p in zip(self.layers, parts, strict=True)])
        return joined[order.argsort()]


def batch(name: str, of, *inputs: Tensor, loss=squared):
    return function(name, of, [WEIGHT, BIAS], *inputs, loss=loss)


BATCHES = [
    batch("twins in one batch", twins, ROWS, OTHERS),
    batch("twins in one batch, interleaved", interleaved_twins, ROWS, OTHERS),
    batch("twins in one batch, stacked", stacked_twins, ROWS, OTHERS),
    batch("one more sample for all", with_negatives, ROWS, OTHERS),
    batch("several draws of each sample", repeated, ROWS),
    row("samples routed", Routed, ROWS),
    batch("samples repeated, interleaved", interleaved, ROWS),
    batch("samples repeated, tiled", tiled, ROWS),
    batch("samples padded", padded, ROWS),
    batch("diagonal of products", products, ROWS),
    batch("samples as columns", as_features, ROWS),
    batch("samples as channels", as_channels, ROWS),
    batch("samples in one vector", in_one_vector, ROWS),
    batch("samples in two dimensions", in_two_dimensions, ROWS),
    batch("samples in two dimensions, turned", turned, ROWS),
    batch("losses of the first half", layer, SIX, loss=lambda y: squared(y)[:3]),
    batch("losses of the last half", layer, SIX, loss=lambda y: squared(y)[3:]),
    batch("losses of every other", layer, SIX, loss=lambda y: squared(y)[1::2]),
    batch("losses of some", layer, SIX, loss=chosen(0, 2, 5)),
    batch("losses of most", layer, SIX, loss=chosen(5, 1, 0, 3)),
    batch(
        "losses by mask",
        layer,
        SIX,
        loss=lambda y: squared(y)[torch.tensor([True, False, True, True, False, True])],
    ),
    batch("losses of one sample twice", layer, SIX, loss=chosen(0, 0, 1)),
    batch("losses in pairs", layer, SIX, loss=lambda y: squared(y).view(3, 2).sum(1)),
    batch("losses in pairs, apart", layer, SIX, loss=lambda y: squared(y).view(2, 3).sum(0)),
    batch("losses in pairs, as tasks", layer, SIX, loss=lambda y: squared(y).view(3, 2)),
    batch("losses of neighbours", layer, SIX, loss=lambda y: (y[1:] - y[:-1]).pow(2).sum(1)),
    batch(
        "losses with a constant one",
        layer,
        ROWS,
        loss=lambda y: torch.cat([squared(y), y.new_ones(1)]),
    ),
    batch(
        "losses with a zero weight",
        layer,
        ROWS,
        loss=lambda y: squared(y) * torch.tensor([1.0, 0.0, 0.0, 1.0]),
    ),
]
