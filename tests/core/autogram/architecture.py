"""What a row of the table of architectures is, and what rows are built from."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

B = 4
"""The usual number of samples; rows where other sizes equal it are the treacherous ones."""


class Architecture(NamedTuple):
    """A model, its inputs, and its losses; ``traceable`` by torch.func, or else by rows only."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Tensor, ...]
    losses: Callable[..., Tensor]
    batch_dim: int = 0
    traceable: bool = True

    def model(self, dtype: torch.dtype) -> nn.Module:
        """Build the model anew, the same at each call whatever its dtype."""
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(zlib.crc32(self.name.encode()))
            return self.build().to(dtype)

    def forward(self, model: nn.Module) -> Tensor:
        """Return the losses, with the same random numbers (dropout) at each call."""
        dtype = next(model.parameters()).dtype
        inputs = [x.to(dtype) if x.is_floating_point() else x for x in self.inputs]
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(0)
            return self.losses(model, *inputs)


def x(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers that float32 represents exactly, so that all dtypes agree on them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).double()


def tokens(vocabulary: int, *shape: int) -> Tensor:
    """Return random indices, most of which are there several times."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, shape, generator=generator)


def target(like: Tensor) -> Tensor:
    """Return numbers that no normalisation makes constant."""
    wave = torch.arange(like.numel(), dtype=torch.float64).mul(0.7).sin()
    return wave.view(like.shape).to(like.dtype)


def squared(output: Tensor, dim: int = 0) -> Tensor:
    """Return one loss a sample, with the samples along ``dim``."""
    rows = output.movedim(dim, 0)
    rows = rows.reshape(len(rows), -1)
    return (rows - target(rows)).pow(2).mean(1)


def by_position(output: Tensor) -> Tensor:
    """Return one loss for each entry of the first two dimensions."""
    rows = output.flatten(2)
    return (rows - target(rows)).pow(2).mean(2)


def row(
    name: str,
    build: Callable[[], nn.Module],
    *inputs: Tensor,
    loss: Callable[[Any], Tensor] = squared,
    batch_dim: int = 0,
    traceable: bool = True,
) -> Architecture:
    """Make a row whose losses are ``loss`` of what the model returns."""
    return Architecture(
        name, build, inputs, lambda model, *given: loss(model(*given)), batch_dim, traceable
    )


class Functional(nn.Module):
    """A function of the inputs and of parameters of the given shapes, which the model owns."""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in shapes])

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs, *self.weights)


def function(
    name: str,
    of: Callable[..., Any],
    shapes: list[tuple[int, ...]],
    *inputs: Tensor,
    loss: Callable[[Any], Tensor] = squared,
    batch_dim: int = 0,
    traceable: bool = True,
) -> Architecture:
    """Make a row of a function of inputs and parameters."""
    return row(
        name,
        lambda: Functional(of, *shapes),
        *inputs,
        loss=loss,
        batch_dim=batch_dim,
        traceable=traceable,
    )
