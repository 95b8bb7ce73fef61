"""What the tests of situations share: a step that is compared with rows of the same graph."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchjd.autogram import Engine

from .oracle import Reference, assert_gradient, assert_gramian, by_rows, trainable

MODES = ["auto", "reuse", "stream"]


class Alone(nn.Module):
    """A module of one parameter of another, to ask the engine for its contribution."""

    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__()
        self.parameter = parameter


def alone(
    model: nn.Module, forward: Callable[[], Tensor], batch_dim: int | None = 0
) -> Callable[[str], Tensor]:
    """Return a fresh engine's Gramian for one parameter alone, to say which one is wrong."""

    def gramian(name: str) -> Tensor:
        engine = Engine(Alone(trainable(model)[name]), batch_dim=batch_dim)
        return engine.compute_gramian(forward())

    return gramian


class Fixed:
    """A weighting that remembers the Gramian: positive, negative and zero weights."""

    def __init__(self) -> None:
        self.gramian = torch.empty(0)

    def __call__(self, gramian: Tensor) -> Tensor:
        self.gramian = gramian
        shape = gramian.shape[: gramian.dim() // 2]
        wave = torch.arange(1, shape.numel() + 1, dtype=torch.float64).mul(1.3).sin()
        wave[1:2] = 0.0
        return wave.view(shape).to(gramian.dtype)


def plain() -> nn.Sequential:
    """Return two linear layers, the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def hooks(model: nn.Module) -> list[str]:
    """Return where on the model a hook is."""
    found = [
        f"{name}.{kind}"
        for name, module in model.named_modules()
        for kind, value in vars(module).items()
        if "hook" in kind and value
    ]
    for name, p in model.named_parameters():
        if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None):
            found.append(name)
        found += [f"{name}.{key}" for key in vars(p)]
    return found


def net(*, dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return nn.Sequential(
            nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 5), nn.Tanh(),
            nn.Linear(5, 2),
        ).to(dtype)  # fmt: skip


def seeded(forward: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return ``forward`` with the same random numbers at each call."""

    def same() -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(3)
            return forward()

    return same


def clear(model: nn.Module) -> None:
    for p in model.parameters():
        p.grad = None


def assert_step(
    engine: Engine,
    model: nn.Module,
    forward: Callable[[], Tensor],
    tolerance: float = 1e-10,
    right: Reference | None = None,
) -> Tensor:
    """Compare a Gramian, and a weighted gradient of another graph, with rows; return the weights.

    ``forward`` must return the same at both calls, and the engine's modules hold all of ``model``.
    """
    losses = forward()
    right = right or by_rows(losses, trainable(model))
    single = alone(model, forward)
    assert_gramian(engine.compute_gramian(losses), right, tolerance, single)
    clear(model)
    weighting = Fixed()
    weights = engine.backward(forward(), weighting)
    assert_gramian(weighting.gramian, right, tolerance, single)
    assert_gradient(model, right, weights, tolerance)
    return weights
