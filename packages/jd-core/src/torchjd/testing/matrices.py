"""Jacobians of known structure: what methods are tried on."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Example",
    "conflicting",
    "examples",
    "gaussian",
    "of_rank",
    "opposite",
    "with_duplicates",
    "with_row_scales",
    "with_zero_rows",
]


class Example(NamedTuple):
    """A Jacobian, and what is special about it."""

    name: str
    matrix: Tensor


def of_rank(m: int, n: int, rank: int, seed: int = 0) -> Tensor:
    """Return a Gaussian matrix of shape ``[m, n]``, of the given rank, in float64."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(m, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, n, generator=generator, dtype=torch.float64)
    return torch.mm(left, right).div(rank**0.5)


def opposite(m: int, n: int, noise: float, seed: int = 0) -> Tensor:
    """Return rows that are plus or minus one vector, up to ``noise``."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(n, generator=generator, dtype=torch.float64)
    signs = (-1.0) ** torch.arange(m, dtype=torch.float64)[:, None]
    return signs * base + noise * torch.randn(m, n, generator=generator, dtype=torch.float64)


def conflicting(m: int, n: int, seed: int = 0) -> Tensor:
    """Return rows whose mean is close to zero: each conflicts with the others."""
    matrix = gaussian(m, n, seed)
    return matrix - 0.999 * matrix.mean(dim=0)


def gaussian(m: int, n: int, seed: int = 0) -> Tensor:
    """Return independent Gaussian entries, of shape ``[m, n]``, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, generator=generator, dtype=torch.float64)


def with_duplicates(m: int, n: int, seed: int = 0) -> Tensor:
    """Return rows of which the last is the first again."""
    matrix = gaussian(m, n, seed)
    matrix[-1] = matrix[0]
    return matrix


def with_zero_rows(m: int, n: int, seed: int = 0) -> Tensor:
    """Return rows of which every second one is zero."""
    matrix = gaussian(m, n, seed)
    matrix[1::2] = 0.0
    return matrix


def with_row_scales(m: int, n: int, exponent: float, seed: int = 0) -> Tensor:
    """Return rows whose lengths go from ``10^-exponent`` to ``10^exponent``."""
    scales = torch.logspace(-exponent, exponent, m, dtype=torch.float64)
    return scales[:, None] * gaussian(m, n, seed)


_FAMILIES: dict[str, Callable[[int, int, int], Tensor]] = {
    "gaussian": gaussian,
    "rank 1": lambda m, n, seed: of_rank(m, n, 1, seed),
    "rank deficient": lambda m, n, seed: of_rank(m, n, max(1, min(m, n) // 2), seed),
    "conflicting": conflicting,
    "opposite up to 1e-3": lambda m, n, seed: opposite(m, n, 1e-3, seed),
    "opposite": lambda m, n, seed: opposite(m, n, 0.0, seed),
    "duplicates": with_duplicates,
    "zero rows": with_zero_rows,
    "row scales 1e-4 to 1e4": lambda m, n, seed: with_row_scales(m, n, 4.0, seed),
    "zero": lambda m, n, _: torch.zeros(m, n, dtype=torch.float64),
}
_SHAPES = [(1, 5), (2, 3), (3, 1), (4, 9), (6, 3), (9, 20)]


def examples(n_seeds: int = 1) -> Iterator[Example]:
    """Yield Jacobians in float64: every structure, in shapes wide and tall, of 1 to 9 rows.

    >>> from torchjd.testing import examples
    >>> next(examples())[0]
    'gaussian, 1 x 5'
    """
    for name, make in _FAMILIES.items():
        for m, n in _SHAPES:
            for seed in range(n_seeds):
                label = f"{name}, {m} x {n}" + (f", seed {seed}" if n_seeds > 1 else "")
                yield Example(label, make(m, n, seed))
