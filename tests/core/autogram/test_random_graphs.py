"""Random compositions, all of whose sizes are equal: no size tells where the samples are."""

import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchjd.autogram import Engine

from .architecture import squared, x
from .harness import MODES, assert_step

# Large enough that activations outweigh the parameters before them.
N = 6
CUBE = x(N, N, N)
ORDER = torch.tensor([2, 0, 5, 1, 4, 3])
MASK = torch.tensor([[True, False, True, True, False, True]]).T ^ torch.eye(N, dtype=torch.bool)

# Each from a cube to a cube, with a dimension, a matrix and a vector.
STEPS = {
    "matmul": lambda h, d, w, v: h @ w,
    "matmul on the left": lambda h, d, w, v: w @ h,
    "matmul along": lambda h, d, w, v: (h.movedim(d, -1) @ w).movedim(-1, d),
    "linear": lambda h, d, w, v: F.linear(h, w, v),
    "flat linear": lambda h, d, w, v: F.linear(h.flatten(0, 1), w, v).view(N, N, N),
    "sum with a vector": lambda h, d, w, v: h + v,
    "sum with a column": lambda h, d, w, v: h + v[:, None],
    "product with a matrix": lambda h, d, w, v: h * w,
    "product along": lambda h, d, w, v: h * v.view([N if k == d else 1 for k in range(3)]),
    "batched product": lambda h, d, w, v: torch.bmm(h, h.transpose(1, 2)) * 0.2 + h,
    "weight for each": lambda h, d, w, v: torch.bmm(h, w.expand(N, N, N)),
    "einsum": lambda h, d, w, v: torch.einsum("abc,cd->adb", h, w),
    "einsum by position": lambda h, d, w, v: torch.einsum("abc,bc->cab", h, w),
    "convolution": lambda h, d, w, v: F.conv1d(h, w[:, :, None], v),
    "wide convolution": lambda h, d, w, v: F.conv1d(h, w.expand(N, N, N)[..., :3], v, padding=1),
    "layer norm": lambda h, d, w, v: F.layer_norm(h, [N], v, v),
    "layer norm of two": lambda h, d, w, v: F.layer_norm(h, [N, N], w),
    "group norm": lambda h, d, w, v: F.group_norm(h, 2, v, v),
    "transpose": lambda h, d, w, v: h.transpose(d, (d + 1) % 3),
    "permute": lambda h, d, w, v: h.permute(1, 2, 0),
    "reshape": lambda h, d, w, v: h.transpose(d, (d + 1) % 3).reshape(N * N, N).view(N, N, N),
    "interleave": lambda h, d, w, v: h.reshape(2, 3, N, N).transpose(0, 1).reshape(N, N, N),
    "halve": lambda h, d, w, v: h.reshape(N, 2, N * N // 2).transpose(1, 2).reshape(N, N, N),
    "cat": lambda h, d, w, v: torch.cat(h.chunk(2, d)[::-1], d),
    "cat parts": lambda h, d, w, v: torch.cat([p.sin() for p in h.split([1, 5], d)], d),
    "unbind": lambda h, d, w, v: torch.stack([p.tanh() for p in h.unbind(d)], (d + 1) % 3),
    "index": lambda h, d, w, v: h.index_select(d, ORDER),
    "advanced index": lambda h, d, w, v: h.transpose(0, d)[ORDER].transpose(0, d),
    "flip": lambda h, d, w, v: h.flip(d),
    "roll": lambda h, d, w, v: h.roll(1, d) + h,
    "softmax": lambda h, d, w, v: h.softmax(d) * 3,
    "cumsum": lambda h, d, w, v: h.cumsum(d) / 2,
    "centre": lambda h, d, w, v: h - h.mean(d, keepdim=True),
    "largest": lambda h, d, w, v: h - h.amax(d, keepdim=True),
    "sum over": lambda h, d, w, v: h + h.sum(d).unsqueeze((d + 1) % 3) / 3,
    "sort": lambda h, d, w, v: h.sort(d)[0],
    "mask": lambda h, d, w, v: torch.where(MASK, h, h.sin()),
    "mask of another": lambda h, d, w, v: torch.where(MASK, h, h.transpose(d, (d + 1) % 3)),
    "expand": lambda h, d, w, v: h.select(d, 1).unsqueeze(d).expand(N, N, N) + h,
    "repeat": lambda h, d, w, v: h.narrow(d, 0, 3).repeat_interleave(2, d) + h.tanh(),
    "tile": lambda h, d, w, v: h.narrow(d, 0, 3).transpose(0, d).repeat(2, 1, 1).sin(),
    "pad": lambda h, d, w, v: F.pad(h.narrow(2, 0, 5), (1, 0)) + h,
    "pooling": lambda h, d, w, v: F.avg_pool1d(h, 3, 1, 1) + h,
    "attention": lambda h, d, w, v: F.scaled_dot_product_attention(h @ w, h, h),
    "lookup": lambda h, d, w, v: h + F.embedding(ORDER, w),
    "diagonal": lambda h, d, w, v: h + h.diagonal(0, d, (d + 1) % 3).unsqueeze(d),
    "tanh": lambda h, d, w, v: h.tanh(),
    "gate": lambda h, d, w, v: h * (h.detach() * v).sigmoid(),
    "in place": lambda h, d, w, v: (h * 1).mul_(v).sin_(),
    "residual": lambda h, d, w, v: h + (h @ w).relu(),
}  # fmt: skip

LOSSES = [
    lambda h: squared(h, 0),
    lambda h: squared(h, 1),
    lambda h: squared(h, 2),
    lambda h: h.sin().mean(2),
    lambda h: (h * h).sum(0),
    lambda h: h.cos().logsumexp(1),
]


class Program(nn.Module):
    """A composition drawn at random, with as many parameters as steps."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.steps = [
            (draw.choice(list(STEPS)), draw.randrange(3)) for _ in range(draw.randint(2, 6))
        ]
        generator = torch.Generator().manual_seed(seed)

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64) / 2)

        self.start = parameter(N, N)
        self.matrices = nn.ParameterList([parameter(N, N) for _ in self.steps])
        self.vectors = nn.ParameterList([parameter(N) for _ in self.steps])
        self.loss = draw.choice(LOSSES)

    def forward(self) -> Tensor:
        h = CUBE @ self.start
        for (name, dim), w, v in zip(self.steps, self.matrices, self.vectors, strict=True):
            h = STEPS[name](h, dim, w, v)
        return self.loss(h)


@pytest.mark.parametrize("seed", range(100))
def test_random_graphs(seed):
    model = Program(seed)
    draw = random.Random(seed)
    batch_dim = draw.randrange(model().ndim)
    engine = Engine(model, batch_dim=batch_dim, mode=draw.choice(MODES))
    assert_step(engine, model, model)
