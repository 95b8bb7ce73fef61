"""Gramians of some tens of rows, by numpy: its calls cost a third of those of torch."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._nonnegative import ACCEPTED, complete, row_space_solver
from ._pivoting import SINGULAR

_Floats = NDArray[np.float64]

MOST = 36
"""Up to how many rows this is the fastest way."""

_EXCHANGES = 8


def project_by_numpy(U: Tensor, G: Tensor, damping: float, noise: float) -> Tensor | None:
    """Return the weights of the projections, as :func:`project` does; None where a row is zero.

    :param U: Combinations of the rows, of shape ``[k, m]``; float64 on the CPU.
    :param G: A Gramian, of shape ``[m, m]``.
    :param damping: What is added to the diagonal of the correlation Gramian.
    :param noise: The rounding that entries of the correlation Gramian carry.
    """
    u, gramian = U.numpy(), G.numpy()
    # What is not finite is no accident here: it is what a loss scaler looks for.
    with np.errstate(all="ignore"):
        lengths = np.sqrt(gramian.diagonal())
        if not lengths.min() > 0:
            return None
        C = gramian / (lengths[:, None] * lengths)
        C.ravel()[:: len(C) + 1] = 1.0 + damping
        S = u * lengths
        sizes = np.abs(S).sum(1)[:, None]
        sizes[sizes == 0.0] = 1.0
        S /= sizes
        Q = S @ C
        W, solved = _pivot(C, Q, noise)
        by_quadprog = None if solved else row_space_solver()
        if by_quadprog is not None:
            W = by_quadprog(C, Q, S, noise)
            solved = _optimal(C, Q, W, noise)
        if not solved:
            c, q, s, w = (torch.from_numpy(array) for array in (C, Q, S, W))
            W = complete(c, q, s, w, noise).numpy()
        return torch.from_numpy(u + W * (sizes / lengths))


def _pivot(C: _Floats, Q: _Floats, noise: float) -> tuple[_Floats, bool]:
    """Do as :func:`solve_by_pivoting`, with dense systems; return whether all was solved.

    Rows that are not in a set are replaced by those of the identity, which for some tens of rows is
    faster than to gather smaller systems.
    """
    m = len(C)
    identity = _identity(m)
    step = 1.3 / np.sqrt(np.vdot(C, C))  # the norm is at least the largest eigenvalue
    descent, shift = identity - step * C, step * Q
    W = np.maximum(-shift, 0.0)
    for _ in range(m // 2):  # 4 µs each: they spare exchanges of 25 µs for m = 4, 150 µs for 24
        W = W @ descent
        W -= shift
        np.maximum(W, 0.0, out=W)
    sets = W > 0.0
    fewest = sets.size
    for _ in range(_EXCHANGES):
        blocks = np.where(sets[:, :, None] & sets[:, None, :], C, identity)
        try:
            W = np.linalg.solve(blocks, np.where(sets, -Q, 0.0)[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:  # a set is singular to the last bit
            return np.full_like(Q, np.nan), False
        Z = W @ C
        Z += Q
        least = np.minimum(W, Z)
        wrong = least < -noise
        count = np.count_nonzero(wrong)
        if count == 0:
            return W, bool(least.max() <= noise)
        # As many wrong as there are problems after the guess, or no fewer than before: C may be
        # singular, and the sets turn in circles.
        if count >= fewest or (fewest == sets.size and count > len(Q) and _singular(C, noise)):
            break
        fewest = count
        sets ^= wrong
    return W, False


def _optimal(C: _Floats, Q: _Floats, W: _Floats, noise: float) -> bool:
    Z = W @ C
    Z += Q
    allowed = ACCEPTED * noise * (1.0 + W.sum(1, keepdims=True))
    return bool((np.abs(np.minimum(W, Z)) <= allowed).all())


def _singular(C: _Floats, noise: float) -> bool:
    try:
        pivots = np.linalg.cholesky(C).diagonal()
    except np.linalg.LinAlgError:
        return True
    return not pivots.min() ** 2 > SINGULAR * noise


@lru_cache(64)
def _identity(m: int) -> _Floats:
    return np.eye(m)
