"""Gramians of two or three rows, in plain numbers: one call of torch costs as much as all of it."""

from collections.abc import Iterator
from math import inf, isfinite, sqrt
from operator import mul

from ._pivoting import SINGULAR

_Rows = list[list[float]]

MOST = 3
"""Up to how many rows this is the fastest way: it tries ``2^m`` faces, one by one."""

_ACCEPTED = 4.0


def project_few(U: _Rows, G: _Rows, damping: float, noise: float) -> _Rows | None:
    """Return ``U`` plus what takes each combination into the dual cone, by trying every face.

    :param U: Combinations of the rows, of shape ``[k, m]``.
    :param G: A Gramian, of shape ``[m, m]``.
    :param damping: What is added to the diagonal of the correlation Gramian.
    :param noise: The rounding that entries of the correlation Gramian carry.
    :returns: The weights of the projections; None if an entry is not finite, or rounding leaves a
        solution in doubt.
    """
    if not isfinite(sum(map(sum, G)) + sum(map(sum, U))):
        return None
    lengths = [sqrt(row[i]) if row[i] > 0 else 0.0 for i, row in enumerate(G)]
    scales = [1.0 / length if length else 0.0 for length in lengths]
    C = [
        [g * a * b for g, b in zip(row, scales, strict=True)]
        for row, a in zip(G, scales, strict=True)
    ]
    for i, row in enumerate(C):
        row[i] = 1.0 + damping
    S = [[u * length for u, length in zip(row, lengths, strict=True)] for row in U]
    sizes = [sum(map(abs, row)) or 1.0 for row in S]
    Q = [[sum(map(mul, s, c)) / size for c in C] for s, size in zip(S, sizes, strict=True)]
    W = _solve(C, Q, SINGULAR * noise)
    if not all(_optimal(C, q, w, _ACCEPTED * noise) for q, w in zip(Q, W, strict=True)):
        return None
    return [
        [u + x * size * scale for u, x, scale in zip(row, w, scales, strict=True)]
        for row, w, size in zip(U, W, sizes, strict=True)
    ]


def _solve(C: _Rows, Q: _Rows, tolerance: float) -> _Rows:
    r"""Return for each ``q`` the weights of the face on which least is negative."""
    m = len(C)
    rows = range(m)
    tableau = [[*row, *column] for row, column in zip(C, zip(*Q, strict=True), strict=True)]
    least = [inf] * len(Q)
    best: _Rows = [[]] * len(Q)
    for face, solved in _faces(tableau, frozenset(), 0, tolerance):
        for k in range(len(Q)):
            column = [row[m + k] for row in solved]
            # What the elimination leaves is -w on the face, and z elsewhere.
            worst = max(column[i] if i in face else -column[i] for i in rows)
            if worst < least[k]:
                least[k] = worst
                best[k] = [max(-column[i], 0.0) if i in face else 0.0 for i in rows]
    return best


def _faces(
    tableau: _Rows, face: frozenset[int], first: int, tolerance: float
) -> Iterator[tuple[frozenset[int], _Rows]]:
    """Yield every set of independent rows, with ``[C | Q]`` after their elimination."""
    yield face, tableau
    for p in range(first, len(tableau)):
        pivot = tableau[p][p]
        if pivot > tolerance:
            scaled = [x / pivot for x in tableau[p]]
            reduced = [
                scaled if i == p else [x - row[p] * y for x, y in zip(row, scaled, strict=True)]
                for i, row in enumerate(tableau)
            ]
            yield from _faces(reduced, face | {p}, p + 1, tolerance)


def _optimal(C: _Rows, q: list[float], w: list[float], tolerance: float) -> bool:
    allowed = tolerance * (1.0 + sum(w))
    return all(
        abs(min(x, z + sum(map(mul, c, w)))) <= allowed for x, z, c in zip(w, q, C, strict=True)
    )
