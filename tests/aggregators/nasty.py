"""Random Jacobians that projections onto the dual cone find hard.

Rows are rescaled by powers of two only, and duplicates are exact: where the cone has no interior,
a rounding of its rows would make it another cone.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

MOST_ROWS = 64


class Nasty(NamedTuple):
    """A Jacobian, and the family that it belongs to."""

    name: str
    matrix: Tensor


def nasty_problem(seed: int) -> Nasty:
    """Return the problem of that number: the families take turns, each with 1 to 64 rows."""
    generator = Generator().manual_seed(seed)
    name = list(FAMILIES)[seed % len(FAMILIES)]
    return Nasty(name, FAMILIES[name](_number_of_rows(generator), generator))


def _number_of_rows(generator: Generator) -> int:
    most = (8, 24, MOST_ROWS)[_integer(0, 2, generator)]
    return _integer(1, most, generator)


def _integer(low: int, high: int, generator: Generator) -> int:
    """Return an integer from ``low`` to ``high``, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _gaussian(m: int, n: int, generator: Generator) -> Tensor:
    return torch.randn(m, n, generator=generator, dtype=torch.float64)


def _wide(m: int, generator: Generator) -> Tensor:
    return _gaussian(m, 4 * m, generator)


def _square(m: int, generator: Generator) -> Tensor:
    return _gaussian(m, m, generator)


def _tall(m: int, generator: Generator) -> Tensor:
    return _gaussian(m, _integer(1, max(1, m - 1), generator), generator)


def _rank_half(m: int, generator: Generator) -> Tensor:
    return _product(m, max(1, m // 2), generator)


def _rank_3(m: int, generator: Generator) -> Tensor:
    return _product(m, 3, generator)


def _product(m: int, rank: int, generator: Generator) -> Tensor:
    return _gaussian(m, rank, generator) @ _gaussian(rank, 2 * m, generator)


def _exact_rank(m: int, generator: Generator) -> Tensor:
    # Factors of few bits have products without rounding: the rank is exact.
    rank = _integer(1, max(1, m // 2), generator)
    left, right = _gaussian(m, rank, generator), _gaussian(rank, 2 * m, generator)
    return (256 * left).round() / 256 @ ((256 * right).round() / 256)


def _conflicting(m: int, generator: Generator) -> Tensor:
    return _without_mean(_gaussian(m, _integer(1, 4, generator) * m, generator), generator)


def _parallel(m: int, generator: Generator) -> Tensor:
    n = _integer(1, 4, generator) * m
    noise = 10.0 ** -min(3.0, _uniform(0.0, 4.5, generator))  # a third have 1e-3
    return _gaussian(1, n, generator) + noise * _gaussian(m, n, generator)


def _opposite(m: int, generator: Generator) -> Tensor:
    return _signs(m, generator) * _parallel(m, generator)


def _spectrum(m: int, generator: Generator) -> Tensor:
    left = torch.linalg.qr(_square(m, generator)).Q
    right = torch.linalg.qr(_gaussian(_integer(1, 4, generator) * m, m, generator)).Q
    lowest = -min(5.0, _uniform(2.0, 8.0, generator))  # half have a Gramian of condition 1e10
    return left * torch.logspace(0.0, lowest, m, dtype=torch.float64) @ right.mT


def _signs(m: int, generator: Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, (m, 1), generator=generator).to(torch.float64) - 1.0


def _without_mean(matrix: Tensor, generator: Generator) -> Tensor:
    return matrix - 0.999 * matrix.mean(dim=0)


def _with_scales(matrix: Tensor, generator: Generator) -> Tensor:
    """Return rows times 1e-4 to 1e4, all of them powers of two."""
    exponents = torch.randint(-13, 14, (matrix.shape[0], 1), generator=generator)
    return torch.ldexp(matrix, exponents)


def _with_zero_rows(matrix: Tensor, generator: Generator) -> Tensor:
    share = _uniform(0.0, 1.0, generator)
    return matrix * (torch.rand(matrix.shape[0], 1, generator=generator) > share)


def _with_duplicates(matrix: Tensor, generator: Generator) -> Tensor:
    return _copied(matrix, 1.0, generator)


def _with_opposite_duplicates(matrix: Tensor, generator: Generator) -> Tensor:
    return _copied(matrix, _signs(matrix.shape[0], generator), generator)


def _copied(matrix: Tensor, signs: Tensor | float, generator: Generator) -> Tensor:
    """Return the matrix with some rows replaced by others, half of these rescaled."""
    m = matrix.shape[0]
    share = _uniform(0.0, 0.7, generator)
    replaced = torch.rand(m, 1, generator=generator) < share
    source = torch.randint(0, m, (m,), generator=generator)
    exponents = torch.randint(-13, 14, (m, 1), generator=generator)
    exponents = exponents * torch.randint(0, 2, (m, 1), generator=generator)
    return torch.where(replaced, torch.ldexp(signs * matrix[source], exponents), matrix)


_WELL_CONDITIONED = [_wide, _square, _tall, _rank_half, _rank_3, _exact_rank]
_BASES = [*_WELL_CONDITIONED, _conflicting, _parallel, _opposite, _spectrum]
_CHANGES = [_with_duplicates, _with_opposite_duplicates, _with_zero_rows, _with_scales]


def _changed(change: Callable[[Tensor, Generator], Tensor]) -> Callable[[int, Generator], Tensor]:
    def make(m: int, generator: Generator) -> Tensor:
        base = _BASES[_integer(0, len(_BASES) - 1, generator)]
        return change(base(m, generator), generator)

    return make


def _combined(m: int, generator: Generator) -> Tensor:
    base = _BASES[_integer(0, len(_BASES) - 1, generator)]
    matrix = base(m, generator)
    if base in _WELL_CONDITIONED and _integer(0, 1, generator):
        matrix = _without_mean(matrix, generator)
    for change in _CHANGES:
        if _integer(0, 2, generator):
            matrix = change(matrix, generator)
    return matrix


FAMILIES: dict[str, Callable[[int, Generator], Tensor]] = {
    "gaussian, n = 4m": _wide,
    "square": _square,
    "more rows than columns": _tall,
    "rank m/2": _rank_half,
    "rank 3": _rank_3,
    "exact rank": _exact_rank,
    "conflicting": _conflicting,
    "nearly parallel": _parallel,
    "nearly opposite": _opposite,
    "spectrum": _spectrum,
    "row scales": _changed(_with_scales),
    "zero rows": _changed(_with_zero_rows),
    "duplicates": _changed(_with_duplicates),
    "opposite duplicates": _changed(_with_opposite_duplicates),
    "combined": _combined,
}
