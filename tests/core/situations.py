"""Functions with what real graphs have in them, in float64: what the engine is tried on."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

X = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).view(4, 3)


class Situation(NamedTuple):
    """From parameters to objectives; ``traceable`` by torch.func or else by differences only."""

    name: str
    shapes: list[tuple[int, ...]]
    function: Callable[..., Tensor]
    traceable: bool = True

    def parameters(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
            for shape in self.shapes
        ]


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.name = ctx.variable = "attributes of users must not confuse the walk"
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


class DataDependent(Square):
    """Its backward pass looks at the values, so it cannot be batched."""

    @staticmethod
    def backward(ctx, grad):
        if float(grad.abs().sum()) == 0.0:
            return torch.zeros_like(grad)
        return 2 * grad * ctx.saved_tensors[0]


class Unvmappable(Square):
    """Its backward pass goes through numpy-like data access."""

    @staticmethod
    def backward(ctx, grad):
        values = torch.tensor(grad.tolist(), dtype=grad.dtype)
        return 2 * values * ctx.saved_tensors[0]


def two(h: Tensor) -> Tensor:
    return torch.stack([h.pow(2).mean(), h.sin().sum()])


def in_place(w: Tensor) -> Tensor:
    h = X @ w
    h[0] = h[1] * 2
    h.mul_(3).add_(1.0)
    h[:, 0].exp_()
    return two(h)


def views(w: Tensor) -> Tensor:
    h = (X @ w).view(2, 2, 2).transpose(0, 2)
    first, second = h.unbind(0)
    return torch.stack([first.sum(), (first * second).mean(), h.chunk(2, dim=1)[1].norm()])


def loops(w: Tensor, v: Tensor) -> Tensor:
    h = X @ w
    for step in range(5):
        h = h.tanh() if float(h.detach().sum()) > step / 2 else h + v * step
        if step == 3:
            break
    return two(h)


def batch_norm(w: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    return two(F.batch_norm(X @ w, None, None, gain, bias, training=True))


def dropout(w: Tensor) -> Tensor:
    mask = torch.rand(4, 2, generator=torch.Generator().manual_seed(1)) < 0.5
    return two((X @ w).masked_fill(mask, 0.0) * 2)


def seeded_dropout(w: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return two(F.dropout(X @ w, 0.5))


def recurrent(kind: type[nn.RNNBase]) -> Callable[..., Tensor]:
    def function(*params: Tensor) -> Tensor:
        cell = kind(3, 2, num_layers=2, bidirectional=True, batch_first=True).double()
        names = [name for name, _ in cell.named_parameters()]
        output, _ = torch.func.functional_call(cell, dict(zip(names, params, strict=True)), X[None])
        return two(output)

    return function


def shapes_of(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters()]


def embedding(sparse: bool) -> Callable[[Tensor], Tensor]:
    index = torch.tensor([[0, 3, 3], [1, 0, 4]])
    return lambda w: two(F.embedding(index, w, sparse=sparse))


def checkpointed(w: Tensor, v: Tensor) -> Tensor:
    h = checkpoint(lambda x: (x @ w).tanh() * v, X, use_reentrant=False)
    return two(h)


def hooked(w: Tensor) -> Tensor:
    h = X @ w
    if h.requires_grad:
        h.register_hook(lambda grad: 1 * grad)
    return two(h)


def retained(w: Tensor) -> Tensor:
    h = X @ w
    if h.requires_grad:
        h.retain_grad()
    return two(h)


def ragged(layout: torch.layout) -> Callable[[Tensor], Tensor]:
    def function(w: Tensor) -> Tensor:
        nested = torch.nested.nested_tensor([X[:1], X[1:]], layout=layout)
        parts = (nested @ w).tanh().unbind()
        return torch.cat([part.flatten() for part in parts])

    return function


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return two(F.scaled_dot_product_attention(X @ q, X @ k, X @ v))


SITUATIONS = [
    Situation("scalars", [(3,)], lambda w: torch.stack([w.sum(), w.prod(), w[0] ** 2])),
    Situation("one objective", [(3, 2)], lambda w: (X @ w).pow(2).mean()),
    Situation("per-sample", [(3, 1), (1,)], lambda w, b: (X @ w + b).pow(2).squeeze(1)),
    Situation("matrix of objectives", [(3, 2)], lambda w: (X @ w).tanh()),
    Situation("many objectives", [(3, 4)], lambda w: (X @ w).exp()),
    Situation("shared", [(3, 3)], lambda w: two((X @ w).tanh() @ w)),
    Situation("partly reached", [(3,), (2,)], lambda a, b: torch.stack([a.sum(), (b * b).sum()])),
    Situation("unused", [(3,), (2, 2)], lambda a, b: torch.stack([a.sum(), a.prod()])),
    Situation("scalar parameter", [(), (3,)], lambda s, a: torch.stack([s * a.sum(), s.exp()])),
    Situation("empty parameter", [(0, 3), (3,)], lambda e, a: torch.stack([a.sum(), e.sum()])),
    Situation("added twins", [(4,), (4,)], lambda p, q: torch.stack([(p + q).sum(), (p + q)[0]])),
    Situation("expanded", [(1, 2)], lambda w: two(w.expand(4, 2) * X[:, :2])),
    Situation("broadcast", [(4, 1), (2,)], lambda a, b: two(a * b)),
    Situation("in place", [(3, 2)], in_place),
    Situation("views", [(3, 2)], views),
    Situation("control flow", [(3, 2), (2,)], loops),
    Situation("masked", [(3, 2)], dropout),
    Situation("dropout", [(3, 2)], seeded_dropout, traceable=False),
    Situation("batch norm", [(3, 2), (2,), (2,)], batch_norm),
    Situation("attention", [(3, 2)] * 3, attention),
    Situation("convolution", [(2, 1, 2)], lambda w: two(F.conv1d(X[:, None], w))),
    Situation("embedding", [(5, 2)], embedding(sparse=False)),
    Situation("sparse embedding", [(5, 2)], embedding(sparse=True), traceable=False),
    Situation("cdist", [(3, 2), (3, 2)], lambda a, b: two(torch.cdist(X @ a, X @ b))),
    Situation("custom function", [(3, 2)], lambda w: two(Square.apply(X @ w)), traceable=False),
    Situation(
        "data-dependent function",
        [(3, 2)],
        lambda w: two(DataDependent.apply(X @ w)),
        traceable=False,
    ),
    Situation("jagged", [(3, 3)], ragged(torch.jagged), traceable=False),
    Situation("checkpoint", [(3, 2), (2,)], checkpointed, traceable=False),
    Situation("hook", [(3, 2)], hooked, traceable=False),
    Situation("retained grad", [(3, 2)], retained, traceable=False),
] + [
    Situation(
        kind.__name__,
        shapes_of(kind(3, 2, num_layers=2, bidirectional=True)),
        recurrent(kind),
        traceable=False,
    )
    for kind in (nn.RNN, nn.LSTM, nn.GRU)
]
BY_NAME = {situation.name: situation for situation in SITUATIONS}
UNBATCHABLE = {"sparse embedding", "data-dependent function", "jagged"}
