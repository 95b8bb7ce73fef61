"""Systems of a few rows, in plain floats: one call of torch or numpy takes as long as all of it."""

from math import inf, sqrt

from torch import Tensor

from ._on_host import on_host
from ._spectrum import REGULAR

_MOST = 8
"""Up to how many rows this is the fastest way: 40 µs for 8, where numpy takes 80."""


def solve_few(gramian: Tensor, b: Tensor | None = None) -> tuple[list[float], list[float]] | None:
    """Return the solution y of ``C y = b``, with C the cosines between rows, and their lengths.

    :param gramian: Of shape ``[m, m]``.
    :param b: Of shape ``[m]``; None for ones.
    :returns: None where that is not the way: for many rows, for values that may not be looked at,
        for rows that are nearly dependent, of length 0 or not finite.
    """
    if len(gramian) > _MOST or not on_host(gramian):
        return None
    G: list[list[float]] = gramian.tolist()
    if not all(0.0 < row[i] < inf for i, row in enumerate(G)):
        return None
    lengths = [sqrt(row[i]) for i, row in enumerate(G)]
    triangle = _cholesky(G, lengths)
    if triangle is None:
        return None
    return _substitute(triangle, [1.0] * len(G) if b is None else b.tolist()), lengths


def _cholesky(G: list[list[float]], lengths: list[float]) -> list[list[float]] | None:
    """Return the Cholesky factor of the cosines, with its diagonal inverted."""
    triangle: list[list[float]] = []
    for i, given in enumerate(G):
        row: list[float] = []
        for j, other in enumerate(triangle):
            rest = given[j] / lengths[i] / lengths[j]
            for x, y in zip(row, other, strict=False):
                rest -= x * y
            row.append(rest * other[j])
        pivot = 1.0
        for x in row:
            pivot -= x * x
        if not pivot > REGULAR * REGULAR:
            return None
        row.append(1.0 / sqrt(pivot))
        triangle.append(row)
    return triangle


def _substitute(triangle: list[list[float]], b: list[float]) -> list[float]:
    y: list[float] = []
    for i, row in enumerate(triangle):
        rest = b[i]
        for x, known in zip(row, y, strict=False):
            rest -= x * known
        y.append(rest * row[i])
    for i in reversed(range(len(y))):
        row = triangle[i]
        y[i] *= row[i]
        for k in range(i):
            y[k] -= row[k] * y[i]
    return y
