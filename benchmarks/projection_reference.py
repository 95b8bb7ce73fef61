"""What the weights of a Gramian should give, and how far those that were found are from it."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.floating]


def mean_projection(matrix: Tensor) -> Array | None:
    r"""Return the mean of the rows' projections onto their dual cone; None without scipy.

    The projection of :math:`t` is :math:`t + A w` with :math:`w \ge 0` that minimises its norm, and
    :math:`A` the rows over their lengths: non-negative least squares, which the method of Lawson
    and Hanson solves on the Jacobian itself. The Gramian would square its condition number.
    """
    try:
        from scipy.optimize import nnls
    except ImportError:
        return None
    rows = matrix.numpy()
    lengths = np.linalg.norm(rows, axis=1)
    present = np.flatnonzero(lengths)
    if len(present) == 0:
        return np.zeros(rows.shape[1])
    Q, R = np.linalg.qr((rows[present] / lengths[present, None]).T)
    total = np.zeros(len(R))
    for length, t in zip(lengths[present], R.T, strict=True):
        w, _ = nnls(R, -t, maxiter=30 * R.shape[1])
        # Of the multipliers only the support is taken: an orthonormal basis of it rounds less.
        basis, _ = np.linalg.qr(R[:, w > 0])
        total += length * (t - basis @ (basis.T @ t) if w.any() else t)
    return Q @ total / len(rows)


def errors(matrix: Tensor, weights: list[float], right: Array | None) -> tuple[float, float]:
    """Return how wrong the aggregated direction is, and by how much it conflicts.

    :param matrix: The Jacobian.
    :param weights: What was found.
    :param right: The direction from :func:`mean_projection`.
    :returns: The distance from ``right`` over the length of the longest row, NaN without it; and
        the largest ``-g_i.d`` over the lengths of ``g_i`` and of the longest row, at least 0.
    """
    rows, direction, lengths = _extended(matrix, weights)
    longest = float(lengths.max())
    present = lengths > 0
    if longest == 0.0:
        return 0.0, 0.0
    far = float("nan") if right is None else float(np.linalg.norm(_float(direction - right)))
    slack = _float(rows[present] @ direction) / lengths[present]
    return far / longest, float(np.maximum(-slack, 0.0).max()) / longest


def duality_gap(matrix: Tensor, weights: list[float]) -> float:
    r"""Return :math:`\|d\|^2 - \min_i g_i \cdot d` over the square of the longest row.

    It bounds by how much half the squared norm of :math:`d = J^\top w` exceeds the least one of the
    convex hull.
    """
    rows, direction, lengths = _extended(matrix, weights)
    gap = direction @ direction - (rows @ direction).min()
    return max(0.0, float(gap)) / max(float(lengths.max()) ** 2, np.finfo(float).tiny)


def difference(matrix: Tensor, weights: list[float], others: list[float]) -> float:
    """Return the distance of two aggregated directions over the length of the longest row."""
    _, direction, lengths = _extended(matrix, weights)
    return float(np.linalg.norm(_float(direction - _extended(matrix, others)[1])) / lengths.max())


def _extended(matrix: Tensor, weights: list[float]) -> tuple[Array, Array, Array]:
    # Large weights of nearly parallel rows cancel: the rounding of the sum is no error of theirs.
    rows = matrix.numpy().astype(np.longdouble)
    direction = np.array(weights, dtype=np.longdouble) @ rows
    return rows, direction, np.linalg.norm(matrix.numpy(), axis=1)


def _float(values: Array) -> Array:
    return values.astype(np.float64)
