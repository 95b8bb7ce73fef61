"""Projections by the solver of the package quadprog, which must be installed for the import."""

from typing import cast

import numpy as np
import quadprog
from numpy.typing import NDArray

from ._pivoting import SINGULAR

_Array = NDArray[np.float64]


def solve_in_row_space(C: _Array, Q: _Array, S: _Array | None, noise: float) -> _Array:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    With :math:`C = L L^\top` they are the multipliers of
    :math:`\min_x \tfrac12 \|x - a\|^2` over :math:`L x \ge 0`, where :math:`L a = q`: the
    projection itself, in a space of as many dimensions as the rows span. Its Hessian is the
    identity, however singular ``C`` is, so neither a ridge nor an inverse is needed; and what is
    lost has the condition of the Jacobian, not of the Gramian.

    Where even the sum of all rows has the projection 0, every combination has, as
    :func:`solve_at_apex` explains. Of Gaussian rows that are twice as many as their dimensions,
    every second cone is like that.

    :param C: A correlation matrix of shape ``[m, m]``.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param S: The combinations for which ``Q = S C``, of the shape of ``Q``; None if there are none.
    :param noise: The rounding that entries of ``C`` carry.
    :returns: An array of shape ``[k, m]``, exactly zero where a weight is at its bound; NaN in the
        rows that were not solved, all of them if an entry of ``Q`` is not finite.
    """
    L = _factor(C, noise)
    if L is None:
        return np.full(Q.shape, np.nan)
    if S is not None and L.shape[1] < len(L) and len(S) > 1:
        weights = 1.0 + _solve(L, L.sum(0)[None], noise)[0]
        if np.abs(weights @ C).max() <= noise * weights.sum():
            return cast("_Array", (S / weights).max(1, initial=0.0)[:, None] * weights - S)
    points = S @ L if S is not None else cast("_Array", np.linalg.lstsq(L, Q.T)[0].T)
    return _solve(L, points, noise)


def _solve(L: _Array, points: _Array, noise: float) -> _Array:
    W = np.full((len(points), len(L)), np.nan)
    identity, rows = np.eye(L.shape[1]), np.ascontiguousarray(L.T)
    # Where the cone is a point, rounding would leave no point at all.
    bounds = np.full(len(L), -0.5 * noise)
    for k in range(len(points)):
        try:
            W[k] = quadprog.solve_qp(identity, points[k], rows, bounds, 0, True)[4]
        except ValueError:  # rounding, all the same
            continue
    return W


def _factor(C: _Array, noise: float) -> _Array | None:
    """Return L of shape ``[m, r]`` with ``L @ L.T`` equal to C up to its rounding, of rank r.

    None if an entry is not finite.
    """
    try:
        L = cast("_Array", np.linalg.cholesky(C))
    except np.linalg.LinAlgError:
        pass
    else:
        if L.diagonal().min() ** 2 > SINGULAR * noise:
            return L
    if not np.isfinite(C).all():
        return None
    values, vectors = np.linalg.eigh(C)
    kept = values > noise
    return cast("_Array", vectors[:, kept] * np.sqrt(values[kept]))
