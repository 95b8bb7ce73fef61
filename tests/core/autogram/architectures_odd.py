"""Nodes that engines forget: in-place, several outputs, complex, indexing, custom functions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import B, function, row, squared, x

ROWS = x(B, 5)
SQUARE = x(B, B)
SEQUENCES = x(B, 3, 5)
LENGTHS = torch.tensor([0, 2, 1, 2])
WEIGHT, BIAS = (5, 4), (4,)


class Scale(torch.autograd.Function):
    """A custom node that owns the use of a parameter, in the old style."""

    @staticmethod
    def forward(ctx, x, gain):
        ctx.save_for_backward(x, gain)
        return x * gain

    @staticmethod
    def backward(ctx, grad):
        x, gain = ctx.saved_tensors
        return grad * gain, (grad * x).sum(0)


class Affine(torch.autograd.Function):
    """A fused linear layer in the style that torch.func can trace."""

    @staticmethod
    def forward(x, weight, bias):
        return x @ weight + bias

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], inputs[1])

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight.T, x.flatten(0, -2).T @ grad.flatten(0, -2), grad.flatten(0, -2).sum(0)


class Quantised(torch.autograd.Function):
    """Rounding whose gradient is passed straight through."""

    @staticmethod
    def forward(ctx, x):
        return (4 * x).round() / 4

    @staticmethod
    def backward(ctx, grad):
        return grad


class SinCos(torch.autograd.Function):
    """A custom node of two outputs and a parameter, that loops over the samples' numbers."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return (x * w).sin(), (x * w).cos()

    @staticmethod
    def backward(ctx, sin, cos):
        x, w = ctx.saved_tensors
        inner = torch.tensor((sin * (x * w).cos() - cos * (x * w).sin()).tolist(), dtype=x.dtype)
        return inner * w, (inner * x).sum(0)


def in_place(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = x @ w
    h.add_(b).relu_()
    h = h + 0.1
    h[:, 0] = h[:, 1] * 2
    h.mul_(b)
    h[:, 2:].exp_()
    return h


def in_place_parameters(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = torch.zeros(len(x), 4, dtype=x.dtype)
    h += b
    h[:, 1:] += (x @ w)[:, 1:]
    h[1] *= 2
    return h.tanh()


def written(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = x.new_zeros(len(x), 3, 4)
    h[:, 0] = (x @ w).tanh()
    h[:, 1] = b
    h[torch.arange(len(x)), 2] = x @ w + b
    return h


def several_outputs(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = (x @ w + b).tanh()
    first, second = h.split([1, 3], dim=1)
    third, fourth = h.chunk(2, dim=1)
    top, where = h.max(dim=1)
    return torch.cat([first * second, third * fourth, top[:, None], h.unbind(1)[where[0]][:, None]],
                     1)  # fmt: skip


def unbind_samples(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.stack([sample.sin() for sample in (x @ w + b).unbind(0)])


def reversed_samples(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return ((x @ w).flip(0) + b).tanh().flip(0)


def halves(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Treat the two halves of the batch differently, then join them."""
    first, second = (x @ w + b).chunk(2)
    return torch.cat([first.tanh(), second.exp()])


def by_subset(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    chosen = torch.tensor([True, False, True, True])
    h = torch.zeros(len(x), 4, dtype=x.dtype)
    h[chosen] = (x[chosen] @ w + b).tanh()
    return h


def complex_inside(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(x @ w + b)
    return torch.fft.irfft(spectrum * spectrum.abs(), n=4)


def complex_product(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    phases = torch.polar(torch.ones_like(b), b)
    return torch.view_as_real((x @ w) * phases).flatten(1).tanh()


def chosen(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = x @ w
    h = torch.where(h > 0, h, h * b).masked_fill(h > 2, 0.5)
    return h.clamp(-1.5, 1.5)


def scattered(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = x @ w + b
    index = torch.tensor([[0, 0, 1, 2]] * len(x))
    return torch.zeros(len(x), 3, dtype=x.dtype).scatter_add(1, index, h).tanh()


def linear(then):
    """Return a function that applies ``then`` to a linear layer."""
    return lambda x, w, b: then(x @ w + b)


def distances(x: Tensor, w: Tensor) -> Tensor:
    return torch.cdist(x, w).tanh()


class Prelu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv1d(3, 4, 2)
        self.slope = nn.PReLU(channels)

    def forward(self, given: Tensor) -> Tensor:
        return self.slope(self.layer(given))


class HalfFrozen(nn.Module):
    """Frozen weights between trained ones, a frozen bias, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))
        self.layers[2].requires_grad_(False)
        self.layers[3].bias.requires_grad_(False)
        self.register_buffer("shift", torch.randn(2))

    def forward(self, given: Tensor) -> Tensor:
        return self.layers(given) + self.shift


class Mixed(nn.Module):
    """Parameters of two dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 4)
        self.second = nn.Linear(4, 3)

    def forward(self, given: Tensor) -> Tensor:
        wide = self.first(given).double().tanh()
        return F.linear(wide, self.second.weight.double(), self.second.bias.double())


def rich(name: str, of, *, traceable: bool = True, loss=squared):
    return function(name, of, [WEIGHT, BIAS], ROWS, traceable=traceable, loss=loss)


class Grid(nn.Module):
    """A spatial transformer: where to look is computed from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Linear(18, 6)

    def forward(self, images: Tensor) -> Tensor:
        theta = self.look(images.flatten(1)).tanh().view(-1, 2, 3)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)


ODD = [
    rich("in place", in_place),
    rich("in place on a constant", in_place_parameters),
    rich("written by index", written),
    rich("several outputs", several_outputs),
    rich("samples unbound", unbind_samples),
    rich("samples reversed and back", reversed_samples),
    rich("samples rolled and back", linear(lambda h: h.roll(1, 0).tanh().roll(-1, 0))),
    rich("halves of the batch", halves),
    rich("some samples alone", by_subset),
    rich("complex inside", complex_inside),
    rich("complex product", complex_product),
    rich("where and masked_fill", chosen),
    rich("scattered", scattered),
    rich("sorted within the sample", linear(lambda h: h.sort(dim=1)[0] * torch.arange(4))),
    rich("top two", linear(lambda h: h.topk(2, dim=1)[0])),
    rich("cumulated", linear(lambda h: h.cumsum(1).tanh())),
    rich("cumulated product", linear(lambda h: h.tanh().cumprod(1))),
    rich("softmax", linear(lambda h: h.log_softmax(1))),
    rich("logsumexp", linear(lambda h: h.logsumexp(1)), loss=lambda y: y),
    rich("norm of the sample", linear(lambda h: h.norm(dim=1)), loss=lambda y: y),
    rich("flipped and rolled features", linear(lambda h: h.flip(1).roll(1, 1).tanh())),
    rich("padded", linear(lambda h: F.pad(h, (1, 2), value=1.0).cos())),
    rich("repeated", linear(lambda h: h.repeat(1, 2).tanh())),
    rich("expanded", linear(lambda h: h[:, None].expand(-1, B, -1).cos())),
    rich("dropout", linear(lambda h: F.dropout(h, 0.4))),
    rich("alpha dropout", linear(lambda h: F.alpha_dropout(h, 0.4, training=True).tanh())),
    rich("straight through", linear(lambda h: Quantised.apply(h).sin()), traceable=False),
    rich("detached", linear(lambda h: h * h.detach().tanh())),
    rich(
        "gather of the label",
        linear(lambda h: h.log_softmax(1).gather(1, LENGTHS[:, None])),
        loss=lambda y: -y.squeeze(1),
    ),
    rich(
        "index of the label",
        linear(lambda h: h.log_softmax(1)[torch.arange(B), LENGTHS]),
        loss=lambda y: -y,
    ),
    rich("samples in another order", linear(lambda h: h[torch.tensor([2, 0, 3, 1])].tanh())),
    rich("a sample twice", linear(lambda h: h[torch.tensor([2, 0, 2, 1])].tanh())),
    rich("two-dimensional view", linear(lambda h: h.view(B, 2, 2).mT.reshape(B, 4).tanh())),
    rich(
        "cholesky",
        linear(
            lambda h: torch.linalg.cholesky(
                h.view(B, 2, 2) @ h.view(B, 2, 2).mT + 3 * torch.eye(2)
            ).flatten(1)
        ),
    ),
    rich(
        "determinant", linear(lambda h: torch.linalg.det(h.view(B, 2, 2))), loss=lambda y: y.sin()
    ),
    rich("inverse", linear(lambda h: torch.linalg.inv(h.view(B, 2, 2) + 9 * torch.eye(2)))),
    row("two dtypes", Mixed, ROWS),
    function(
        "last step by length",
        lambda x, w: (x @ w).tanh()[torch.arange(B), LENGTHS],
        [WEIGHT],
        SEQUENCES,
    ),
    function("distances", distances, [(3, 5)], ROWS),
    function("distances, square", distances, [(B, B)], SQUARE),
    function("distances by position", distances, [(2, 5)], SEQUENCES),
    function("custom function with a gain", Scale.apply, [(5,)], ROWS, traceable=False),
    function(
        "custom function, square",
        lambda x, g: Scale.apply(x, g).tanh(),
        [(B,)],
        SQUARE,
        traceable=False,
    ),
    function("custom linear", lambda x, w, b: Affine.apply(x, w, b).tanh(), [WEIGHT, BIAS], ROWS),
    function(
        "custom linear on sequences",
        lambda x, w, b: Affine.apply(x, w, b).tanh(),
        [WEIGHT, BIAS],
        SEQUENCES,
    ),
    function(
        "custom function that reads numbers",
        lambda x, w: torch.cat(SinCos.apply(x, w), 1),
        [(5,)],
        ROWS,
        traceable=False,
    ),
    row("prelu", lambda: Prelu(1), x(B, 3, 5)),
    row("prelu by channel", lambda: Prelu(4), x(B, 3, 5)),
    row(
        "prelu by channel, of the batch's size",
        lambda: nn.Sequential(nn.Linear(B, B), nn.PReLU(B)),
        SQUARE,
    ),
    row("partly frozen", HalfFrozen, ROWS),
    row(
        "pooling",
        lambda: nn.Sequential(nn.Conv1d(3, 4, 2), nn.MaxPool1d(2), nn.AvgPool1d(2)),
        x(B, 3, 9),
    ),
    row(
        "adaptive pooling",
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.AdaptiveMaxPool2d(2), nn.LPPool2d(2.0, 2)),
        x(B, 2, 4, 5),
    ),
    row("grid sample", Grid, x(B, 2, 3, 3)),
]
