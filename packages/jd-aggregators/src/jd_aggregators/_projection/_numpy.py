"""Gramians of some tens of rows, by numpy: its calls cost a third of those of torch."""

from collections.abc import Callable
from functools import lru_cache
from math import inf, sqrt
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._nonnegative import ACCEPTED, complete, row_space_solver
from ._pivoting import SLOW, SMALLEST_PIVOT

_Floats = NDArray[np.float64]

MOST = 36
"""Up to how many rows this is the fastest way."""

_EXCHANGES = 8
# Of a single combination: with how many rows it may conflict to be solved by small systems.
_FEW_CONFLICTS = 8
_TINY = float(np.finfo(np.float64).tiny)


def project_by_numpy(U: Tensor, G: Tensor, damping: float, noise: float) -> Tensor:
    """Return the weights of the projections, as :func:`project` does.

    :param U: Combinations of the rows, of shape ``[k, m]``; float64 on the CPU.
    :param G: A Gramian, of shape ``[m, m]``.
    :param damping: What is added to the diagonal of the correlation Gramian.
    :param noise: The rounding that entries of the correlation Gramian carry.
    """
    u, g = U.numpy(), G.numpy()
    # What is not finite is no accident here: it is what a loss scaler looks for.
    with np.errstate(all="ignore"):
        if len(u) == 1 and _is_inside(u[0], g, damping):
            return U.clone()
        return _where_alive(_project, u, g, damping, noise)


def project_rows_by_numpy(p: Tensor, G: Tensor, damping: float, noise: float) -> Tensor:
    """Return the weights of the sum of the projections of the rows, times ``p``, of shape ``[m]``.

    As ``project_by_numpy(torch.diag(p), G, damping, noise).sum(0)``, in fewer operations.
    """
    with np.errstate(all="ignore"):
        return _where_alive(_project_rows, p.numpy(), G.numpy(), damping, noise)


def solve_by_numpy(C: Tensor, Q: Tensor, noise: float) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    :param C: A correlation matrix of shape ``[m, m]``, float64 on the CPU.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    """
    with np.errstate(all="ignore"):
        return torch.from_numpy(_solve(C.numpy(), Q.numpy(), None, noise))


def _where_alive(
    compute: Callable[[_Floats, _Floats, _Floats, float, float], _Floats],
    u: _Floats,
    G: _Floats,
    damping: float,
    noise: float,
) -> Tensor:
    """Return what ``compute`` does, with rows of zeros left out and their weights left alone."""
    lengths = np.sqrt(G.diagonal())
    if lengths.all():
        return torch.from_numpy(compute(u, G, lengths, damping, noise))
    alive = lengths != 0
    found = u.copy()
    rest = np.ascontiguousarray(G[alive][:, alive])
    if len(rest):
        found[..., alive] = compute(u[..., alive], rest, lengths[alive], damping, noise)
    if not np.isfinite(G).all():
        found[...] = np.nan
    return torch.from_numpy(found)


def _is_inside(u: _Floats, G: _Floats, damping: float) -> bool:
    """Return whether a combination is in the dual cone already, and all is finite."""
    slopes = G.dot(u)
    if damping:
        slopes += damping * (G.diagonal() * u)
    return float(slopes.min()) >= 0.0 and float(slopes.max()) < inf


def _project(U: _Floats, G: _Floats, lengths: _Floats, damping: float, noise: float) -> _Floats:
    C = _correlation(G, lengths, damping)
    S = U * lengths
    sizes: _Floats = np.maximum(np.abs(S).sum(1), _TINY)[:, None]
    S /= sizes
    return U + _solve(C, S @ C, S, noise) * (sizes / lengths)


def _project_rows(
    p: _Floats, G: _Floats, lengths: _Floats, damping: float, noise: float
) -> _Floats:
    C = _correlation(G, lengths, damping)
    added: _Floats = (p * lengths) @ _solve(C, C, _identity(len(C)), noise)
    return p + added / lengths


def _correlation(G: _Floats, lengths: _Floats, damping: float) -> _Floats:
    C: _Floats = G / (lengths[:, None] * lengths)
    if damping:
        C += damping * _identity(len(C))
    return C


def _solve(C: _Floats, Q: _Floats, S: _Floats | None, noise: float) -> _Floats:
    if len(Q) == 1:
        found = _pivot_one(C, Q[0], noise)
        if found is not None:
            return found[None]
    W, solved = _pivot(C, Q, noise)
    if solved:
        np.maximum(W, 0.0, out=W)
        return W
    finite = np.isfinite(Q).all(1)
    if not finite.all():
        W = np.full_like(Q, np.nan)
        if finite.any():
            W[finite] = _solve(C, Q[finite], None if S is None else S[finite], noise)
        return W
    quadprog = row_space_solver()
    if quadprog is not None:
        W = cast("_Floats", quadprog(C, Q, S, noise))
        if _optimal(C, Q, W, noise):
            np.maximum(W, 0.0, out=W)
            return W
    c, q, w = (torch.from_numpy(array) for array in (C, Q, W))
    completed = complete(c, q, None if S is None else torch.from_numpy(S), w, noise)
    return cast("_Floats", completed.numpy())


def _pivot_one(C: _Floats, q: _Floats, noise: float) -> _Floats | None:
    """Return the solution of one problem if a few exchanges find it, by small systems; else None.

    It starts from the rows that conflict: if they are few, a better guess costs more than the
    exchanges it spares.
    """
    members = q < 0.0
    if np.count_nonzero(members) > _FEW_CONFLICTS:
        return None
    last = len(q) + 1
    while True:
        rows = members.nonzero()[0]
        w = np.zeros(len(q))
        try:
            w[rows] = np.linalg.solve(C[rows[:, None], rows], -q[rows])
        except np.linalg.LinAlgError:  # a set is singular to the last bit
            return None
        least = np.minimum(w, C.dot(w) + q)
        wrong = least < -noise
        count = int(np.count_nonzero(wrong))
        if count == 0:
            return np.maximum(w, 0.0) if float(least.max()) <= noise else None
        if count >= last:
            return None
        last = count
        members ^= wrong


def _pivot(C: _Floats, Q: _Floats, noise: float) -> tuple[_Floats, bool]:
    """Do as :func:`solve_by_pivoting`, with dense systems; return whether all was solved.

    Rows that are not in a set are replaced by those of the identity, which for some tens of rows is
    faster than to gather smaller systems.
    """
    m = len(C)
    identity = _identity(m)
    square = C @ C
    # The root of the norm of the square is at least the largest eigenvalue, and not much more.
    step = 1.6 / sqrt(sqrt(np.vdot(square, square)) or 1.0)
    descent, shift = identity - step * C, step * Q
    W = np.maximum(-shift, 0.0)
    for _ in range(m // 3):  # 3 µs each: they spare exchanges of 25 µs for m = 4, 150 µs for 24
        W = W @ descent
        W -= shift
        np.maximum(W, 0.0, out=W)
    sets, opposite = W > 0.0, -Q
    last = sets.size
    for _ in range(_EXCHANGES):
        blocks = np.where(sets[:, :, None] & sets[:, None, :], C, identity)
        try:
            W = np.linalg.solve(blocks, np.where(sets, opposite, 0.0)[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:  # a set is singular to the last bit
            return np.full_like(Q, np.nan), False
        Z = W @ C
        Z += Q
        least = np.minimum(W, Z)
        wrong = least < -noise
        count = int(np.count_nonzero(wrong))
        if count == 0:
            return W, bool(least.max() <= noise)
        # More wrong than there are problems after a guess, or hardly fewer than before: C may be
        # ill-conditioned, and the sets turn in circles.
        if count > SLOW * last or (last == sets.size and count > len(Q) and _ill_conditioned(C)):
            break
        last = count
        sets ^= wrong
    return W, False


def _optimal(C: _Floats, Q: _Floats, W: _Floats, noise: float) -> bool:
    Z = W @ C
    Z += Q
    allowed = ACCEPTED * noise * (1.0 + W.sum(1, keepdims=True))
    return bool((np.abs(np.minimum(W, Z)) <= allowed).all())


def _ill_conditioned(C: _Floats) -> bool:
    try:
        pivots = np.linalg.cholesky(C).diagonal()
    except np.linalg.LinAlgError:
        return True
    return not pivots.min() ** 2 > SMALLEST_PIVOT


@lru_cache(64)
def _identity(m: int) -> _Floats:
    return np.eye(m)
