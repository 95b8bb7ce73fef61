"""Normalisations, and parameters that are added and multiplied in."""

import torch
from torch import Tensor, nn

from .architecture import Architecture, B, by_position, function, row, x

ROWS = x(B, 6)
CUBE = x(B, B, B)
SIGNAL = x(B, 6, 5)
IMAGE = x(B, 6, 3, 4)


def after(norm: nn.Module, *, linear: int = 0) -> nn.Module:
    """Return the layer with random parameters and statistics, and something not linear behind."""
    for p in norm.parameters():
        nn.init.normal_(p)
    for name, buffer in norm.named_buffers():
        if buffer.is_floating_point():
            (nn.init.normal_ if "mean" in name else nn.init.uniform_)(buffer)
    first = [nn.Linear(linear, linear)] if linear else []
    return nn.Sequential(*first, norm, nn.Tanh())


def norm(name: str, build, given: Tensor, *, linear: int = 0, **options) -> Architecture:
    return row(name, lambda: after(build(), linear=linear), given, **options)


def in_eval(build, linear: int = 0):
    def made() -> nn.Module:
        model = after(build(), linear=linear)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if "var" in name:
                    buffer.add_(0.5)
        return model.eval()

    return made


class Affine(nn.Module):
    """Parameters of many shapes of broadcast on one tensor ``[B, 3, 5]``."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(), (1,), (5,), (3, 1), (1, 5), (3, 5), (1, 1, 1), (1, 3, 1), (1, 3, 5)]
        self.gains = nn.ParameterList([nn.Parameter(torch.rand(shape) + 0.5) for shape in shapes])

    def forward(self, x: Tensor) -> Tensor:
        for k, p in enumerate(self.gains):
            if k % 4 == 0:
                x = x + p
            elif k % 4 == 1:
                x = x * p
            elif k % 4 == 2:
                x = (p - x) / p
            else:
                x = x.sigmoid() ** p
        return x


NORMS = [
    norm("layer norm", lambda: nn.LayerNorm(6), ROWS, linear=6),
    norm("layer norm of the batch's size", lambda: nn.LayerNorm(B), CUBE, linear=B),
    norm("layer norm of two dimensions", lambda: nn.LayerNorm((6, 5)), SIGNAL),
    norm("layer norm of three dimensions", lambda: nn.LayerNorm((6, 3, 4)), IMAGE),
    norm(
        "layer norm without affine",
        lambda: nn.LayerNorm(6, elementwise_affine=False),
        ROWS,
        linear=6,
    ),
    norm("layer norm without bias", lambda: nn.LayerNorm(6, bias=False), ROWS, linear=6),
    norm(
        "layer norm, sequence first",
        lambda: nn.LayerNorm(5),
        x(3, B, 5),
        linear=5,
        loss=by_position,
        batch_dim=1,
    ),
    norm("group norm", lambda: nn.GroupNorm(2, 6), IMAGE),
    norm("group norm of rows", lambda: nn.GroupNorm(2, 6), ROWS, linear=6),
    norm("group norm, one group", lambda: nn.GroupNorm(1, B), CUBE),
    norm("group norm of the batch's size", lambda: nn.GroupNorm(B, B), x(B, B, B, B)),
    norm("group norm without affine", lambda: nn.GroupNorm(2, 6, affine=False), ROWS, linear=6),
    norm("rms norm", lambda: nn.RMSNorm(6), ROWS, linear=6),
    norm("rms norm of sequences", lambda: nn.RMSNorm(B), CUBE, linear=B),
    norm("rms norm of two dimensions", lambda: nn.RMSNorm((6, 5)), SIGNAL),
    norm(
        "rms norm without affine", lambda: nn.RMSNorm(6, elementwise_affine=False), ROWS, linear=6
    ),
    norm("instance norm 1d", lambda: nn.InstanceNorm1d(6, affine=True), SIGNAL),
    norm("instance norm 2d", lambda: nn.InstanceNorm2d(6, affine=True), IMAGE),
    norm("instance norm 3d", lambda: nn.InstanceNorm3d(2, affine=True), x(B, 2, 2, 3, 2)),
    norm("instance norm of the batch's size", lambda: nn.InstanceNorm1d(B, affine=True), CUBE),
    norm(
        "instance norm that tracks",
        lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        IMAGE,
    ),
    row(
        "instance norm that tracked",
        in_eval(lambda: nn.InstanceNorm1d(6, affine=True, track_running_stats=True)),
        SIGNAL,
    ),
    row("batch norm 1d in eval", in_eval(lambda: nn.BatchNorm1d(6), 6), ROWS),
    row("batch norm 1d in eval, sequences", in_eval(lambda: nn.BatchNorm1d(B)), CUBE),
    row("batch norm 2d in eval", in_eval(lambda: nn.BatchNorm2d(6)), IMAGE),
    row("batch norm 3d in eval", in_eval(lambda: nn.BatchNorm3d(2)), x(B, 2, 2, 3, 2)),
    row(
        "batch norm in eval without affine",
        in_eval(lambda: nn.BatchNorm1d(6, affine=False), 6),
        ROWS,
    ),
    norm(
        "local response norm",
        lambda: nn.Sequential(nn.Conv2d(6, 6, 1), nn.LocalResponseNorm(3)),
        IMAGE,
    ),
    row("broadcast parameters", Affine, x(B, 3, 5)),
    row("broadcast parameters, cube", Affine, x(3, 3, 5)),
    function("sum with a parameter for each sample", lambda x, p: (x + p).tanh(), [(B, 6)], ROWS),
    function(
        "product with a parameter for each sample", lambda x, p: (x * p).tanh(), [(B, 6)], ROWS
    ),
    function(
        "product with one number for each sample", lambda x, p: (x * p).tanh(), [(B, 1)], ROWS
    ),
    function("square broadcast", lambda x, p, q: (x * p + q).tanh(), [(B,), (B, 1)], x(B, B)),
    function(
        "cube broadcast",
        lambda x, p, q, r: (x * p / r.exp() - q).tanh(),
        [(B, 1), (1, B), (B, 1, 1)],
        CUBE,
    ),
    function("sum that widens the input", lambda x, p: (x[:, None] + p).tanh(), [(3, 6)], ROWS),
    function("power with a parameter", lambda x, p: x.abs() ** p.sigmoid(), [(6,)], ROWS),
    function("power of a parameter", lambda x, p: p.exp() ** x, [(6,)], ROWS),
    function("division of a parameter", lambda x, p: p / (x.exp() + 1), [(6,)], ROWS),
    function(
        "addcmul and addcdiv",
        lambda x, p, q: torch.addcmul(q, x, p, value=2).addcdiv(p, q.exp()).tanh(),
        [(6,), (6,)],
        ROWS,
    ),
    function(
        "interpolation between parameters",
        lambda x, p, q: torch.lerp(p, q, x.sigmoid()),
        [(6,), (6,)],
        ROWS,
    ),
    function("sub with alpha", lambda x, p: torch.sub(x, p, alpha=3).tanh(), [(6,)], ROWS),
    function("maximum with a parameter", torch.maximum, [(6,)], ROWS),
    function("atan2 of a parameter", lambda x, p: torch.atan2(x, p.exp()), [(6,)], ROWS),
]
