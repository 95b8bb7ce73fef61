r"""The best worst case within a ball: what the conflict-averse methods solve.

.. math:: \max_{\|y\| \le k} \; \min_i \; b_i + g_i \cdot y \;
    = \; \min_{w \ge 0, \; \sum_j w_j = 1} b \cdot w + k \|J^\top w\|

The best y is :math:`k J^\top w / \|J^\top w\|`. Rows are taken at unit length: for
:math:`v_i = l_i w_i`, with lengths :math:`l_i`, the right side is

.. math:: k \min_{v \ge 0, \; e \cdot v = 1} q \cdot v + \sqrt{v^\top C v}, \qquad
    C_{ij} = \frac{G_{ij}}{l_i l_j}, \quad q_i = \frac{b_i}{l_i k}, \quad e_i = \frac{1}{l_i}.
"""

from functools import cache
from math import inf, isfinite, nan, sqrt
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from ._projection._base import ridge, rounding

# Up to how many units of rounding a slope may be negative at the optimum.
_ACCEPTED = 4.0
# Up to which square of their distance, in units of rounding, rows count as dependent.
_DEPENDENT = 16.0


class WorstCase(NamedTuple):
    """A problem with rows of unit length; float64 on the CPU.

    :ivar C: The correlation matrix, of shape ``[m, m]``.
    :ivar q: The offsets, of shape ``[m]``.
    :ivar e: The inverses of the lengths, up to a factor; of shape ``[m]``.
    :ivar noise: The rounding of computations with ``C``.
    """

    C: Tensor
    q: Tensor
    e: Tensor
    noise: float

    @classmethod
    def of(cls, G: Tensor, b: Tensor, radius: float, dtype: torch.dtype) -> "WorstCase":
        """Return the problem of a Gramian without rows of zeros.

        :param G: The Gramian, of shape ``[m, m]``, finite; float64 on the CPU.
        :param b: The offsets, of shape ``[m]``.
        :param radius: The radius k of the ball, above 0.
        :param dtype: The dtype that ``G`` was computed in. C is made definite beyond its rounding.
        """
        lengths = G.diagonal().sqrt()
        C = G / (lengths[:, None] * lengths)
        C.diagonal().fill_(1.0 + ridge(len(G), dtype))
        e = float(lengths.min()) / lengths
        return cls(C, b / lengths / radius, e, rounding(len(G), torch.float64))

    def solve(self, start: Tensor) -> Tensor:
        r"""Return the optimal v, of length :math:`\sqrt{v^\top C v} = 1`.

        As Wolfe's method finds the point of least norm ("Finding the nearest point in a polytope",
        Mathematical Programming, 1976), which is the case q = 0: the rows of positive weight are
        affinely independent, the best point of their affine hull has a closed form, and where it is
        no convex combination, the way to it ends where one of them gets the weight 0. A row along
        which the objective falls joins. The objective falls in each round, so no set comes twice.

        :param start: A v at which the objective is less than at each :math:`J^\top v = 0`.
        """
        hulls = _Hulls(self)
        v, least = self._with_independent_rows(start / (self.e @ start)), inf
        rows = v.nonzero().flatten().tolist()
        shortcut = hulls.shortcut(rows)
        if shortcut is not None and self._value(shortcut) < min(self._value(v), 0.0):
            v, rows = shortcut, shortcut.nonzero().flatten().tolist()
        best = v
        # In each round one row joins; more than a few times as many rounds are due to rounding.
        for _ in range(10 * len(start) + 10):
            v = hulls.towards_best(v, rows)
            image = self.C @ v
            length = sqrt(max(float(v @ image), 0.0))
            value = float(self.q @ v) + length
            if not (value < least and length > 0.0):
                break
            best, least = v / length, value
            slopes = self.q + image / length - value * self.e
            slope, joining = slopes.min(0)
            allowed = _ACCEPTED * self.noise * (1.0 + float(best.sum() + self.q.abs().max()))
            if float(slope) >= -allowed or int(joining) in rows:
                break
            rows.append(int(joining))
        return best

    def _with_independent_rows(self, v: Tensor) -> Tensor:
        """Return weights of the same point, those of affinely independent rows."""
        v = v.clamp_min(0.0)
        while True:
            rows = v.nonzero().flatten()
            lifted = self.C[rows][:, rows] + self.e[rows][:, None] * self.e[rows]
            values, vectors = torch.linalg.eigh(lifted)
            if float(values[0]) > _DEPENDENT * self.noise:
                return v
            way = vectors[:, 0]
            way = way if float(way.min()) < -float(way.max()) else -way
            ratio, leaving = torch.where(way < 0.0, v[rows] / -way, inf).min(0)
            fewer = v.index_put((rows,), (v[rows] + ratio * way).clamp_min(0.0))
            fewer[rows[leaving]] = 0.0
            if not bool(fewer.any()):  # rounding
                return v
            v = fewer

    def _value(self, v: Tensor) -> float:
        return float(self.q @ v) + sqrt(max(float(v @ self.C @ v), 0.0))


class _Hulls:
    """The best points of the affine hulls of some rows."""

    def __init__(self, problem: WorstCase) -> None:
        C, q, e, _ = problem
        m = len(C)
        self._e = e
        # The conditions of both points that the best one is a combination of, with a border for
        # the sum of the weights.
        self._system = C.new_zeros(m + 1, m + 1)
        self._system[:m, :m], self._system[m, :m], self._system[:m, m] = C, e, e
        self._sides = C.new_zeros(m + 1, 2)
        self._sides[m, 0], self._sides[:m, 1] = 1.0, -q

    def towards_best(self, v: Tensor, rows: list[int]) -> Tensor:
        """Return the best combination of some of the rows; the others leave ``rows``."""
        x = v[rows]
        while True:
            target, is_point = self._best(rows)
            if is_point and bool((target > 0.0).all()):
                break
            way = target - x if is_point else target
            ratio, leaving = torch.where(way < 0.0, x / -way, inf).min(0)
            if not float(ratio) < inf or len(rows) == 1:  # rounding
                target = x
                break
            x = (x + ratio * way).clamp_min_(0.0)
            x[leaving] = 0.0
            kept = x > 0.0
            rows[:] = [row for row, keep in zip(rows, kept.tolist(), strict=True) if keep]
            x = x[kept]
        return self._spread(target, rows)

    def shortcut(self, rows: list[int]) -> Tensor | None:
        """Return a best point that is a convex combination, by leaving out many rows at once."""
        while rows:
            target, is_point = self._best(rows)
            kept = (target > 0.0).tolist()
            if is_point and all(kept):
                return self._spread(target, rows)
            if all(kept):
                return None
            rows = [row for row, keep in zip(rows, kept, strict=True) if keep]
        return None

    def _spread(self, x: Tensor, rows: list[int]) -> Tensor:
        v = torch.zeros_like(self._e)
        v[rows] = x
        return v / (self._e @ v)

    def _best(self, rows: list[int]) -> tuple[Tensor, bool]:
        r"""Return the best point of the rows' affine hull, or else a direction of endless descent.

        With the point of least norm p and the direction h that minimises
        :math:`q \cdot h + \tfrac12 h^\top C h`, which are orthogonal, the objective along
        :math:`p + \tau h` is :math:`q \cdot p - \tau \|h\|^2 + \sqrt{\|p\|^2 + \tau^2 \|h\|^2}`.

        :returns: The weights of the rows, and whether they are a point.
        """
        k = len(rows)
        bordered = torch.tensor([*rows, len(self._e)], device="cpu")
        system, sides = self._system[bordered][:, bordered], self._sides[bordered]
        solved = torch.linalg.solve_ex(system, sides)[0][:k]
        squares = (solved * (system[:k, :k] @ solved)).sum(0)
        nearest, fall = (max(square, 0.0) for square in squares.tolist())
        p, h = solved.unbind(1)
        if fall >= 1.0:
            return h, False
        return p + sqrt(nearest / (1.0 - fall)) * h, True


def ball(square: float, size: float, c: float, m: int, dtype: torch.dtype) -> float:
    """Return the radius of the ball about the mean: 0 where there is none, NaN for NaN.

    :param square: The squared length of the mean of the rows.
    :param size: The mean of their lengths.
    :param c: The radius, relative to the length of the mean.
    :param m: The number of rows.
    :param dtype: The dtype that their Gramian was computed in.
    """
    if not (isfinite(square) and isfinite(size)):
        return nan
    # A mean that is rounding of the rows is 0, and so is the ball.
    is_zero = c == 0.0 or square <= rounding(m, dtype) * size**2
    return 0.0 if is_zero else c * sqrt(square)


@cache
def numpy_solver() -> ModuleType | None:
    """Return the module that solves easy problems by numpy; None where that is not installed."""
    try:
        from . import _worst_case_small
    except ImportError:
        return None
    return _worst_case_small
