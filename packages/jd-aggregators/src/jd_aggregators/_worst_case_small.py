"""The best worst case within a ball where it is easy, by numpy: its calls cost the least."""

from functools import lru_cache
from math import nan, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._projection._base import ridge, rounding
from ._worst_case import ball

_Floats = NDArray[np.float64]

_EXCHANGES = 8
# Up to how many units of rounding a condition may be violated.
_ACCEPTED = 4.0
# Up to which errors a solution is taken, in the square of its length as far as the Gramian tells
# it, and in the length that it should have: rows that nearly cancel need more care.
_UNCERTAIN = 1e-2
_OFF = 1e-9


def near_the_mean(G: Tensor, c: float, dtype: torch.dtype) -> Tensor | None:
    r"""Return the weights of CAGrad, of shape ``[m]``, if they are easy to find; else None.

    Where the rows S are known that get more than in the mean, what they get, for rows of unit
    length, is :math:`v_S = z C_S^{-1} e_S - C_S^{-1} q_S`, and the level z is the root of a
    quadratic equation for which y has the length of the radius. Rows that violate a condition
    change sides, all at once. What is returned satisfies all conditions, so it is the optimum.

    :param G: The Gramian, of shape ``[m, m]``; float64 on the CPU.
    :param c: The radius of the ball, relative to the length of the mean.
    :param dtype: The dtype that ``G`` was computed in, whose rounding it carries.
    """
    # What is singular or not finite fails the conditions.
    with np.errstate(all="ignore"):
        found = _change(G, c, dtype)
    if found is None:
        return None
    found += _mean(len(found))
    return torch.from_numpy(found)


def _change(G: Tensor, c: float, dtype: torch.dtype) -> _Floats | None:
    g: _Floats = G.numpy()
    m = len(g)
    share = _mean(m)
    b, lengths = g.dot(share), np.sqrt(g.diagonal())
    square = float(b.dot(share))
    radius = ball(square, float(lengths.dot(share)), c, m, dtype)
    if not radius > 0.0:
        return np.full(m, radius)
    # A Gramian of fewer digits needs its ridge.
    found = _all_alike(G, g, lengths, square, radius) if dtype == torch.float64 else None
    return _exchange(g, b, lengths, radius, dtype) if found is None else found


def _all_alike(
    G: Tensor, g: _Floats, lengths: _Floats, square: float, radius: float
) -> _Floats | None:
    r"""Return the change after which all rows gain the same, if that is the best one; else None.

    With :math:`G x = 1`, all weights together are a multiple :math:`z x`, as each row gains z then,
    and :math:`\|z J^\top x - g_0\|^2 = z^2 \sum_i x_i - 2 z + \|g_0\|^2`. If no weight is less
    than in the mean, as is usual where rows hardly conflict, that is the optimum.
    """
    m = len(g)
    # Its rounding does not depend on the lengths of the rows. Where it fails, a pivot is rounding,
    # and what is divided by it no sound change.
    factor = torch.linalg.cholesky_ex(G)[0]
    inverse = torch.linalg.solve_triangular(factor, _eye(m), upper=False).numpy()
    x: _Floats = inverse.dot(_ones(m)).dot(inverse)
    total = float(x.dot(_ones(m)))
    root = 1.0 - total * (square - radius * radius)
    if not (total > 0.0 and root >= 0.0):
        return None
    change = x * ((1.0 + sqrt(root)) / total)
    change -= _mean(m)
    if not float(change.min()) >= 0.0:
        return None
    length = sqrt(max(float(change.dot(g.dot(change))), 0.0)) / radius
    sound = _is_sound(length, float(change.dot(lengths)) / radius, m, torch.float64)
    return change if sound else None


def _is_sound(length: float, total: float, m: int, dtype: torch.dtype) -> bool:
    """Return whether a change is as long as it should be, and its rows do not nearly cancel.

    :param length: Of the change, over the radius.
    :param total: The lengths of what it is the sum of, together, over the radius.
    :param m: The number of rows.
    :param dtype: The dtype that the Gramian was computed in.
    """
    return rounding(m, dtype) * total * total <= _UNCERTAIN and abs(length - 1.0) < _OFF


def _exchange(
    G: _Floats, b: _Floats, lengths: _Floats, radius: float, dtype: torch.dtype
) -> _Floats | None:
    m = len(G)
    e = 1.0 / lengths
    C: _Floats = G * (e[:, None] * e)
    np.fill_diagonal(C, 1.0 + ridge(m, dtype))
    both = np.empty((m, 2))
    both[:, 0] = e
    q: _Floats = b * e
    q /= radius
    both[:, 1] = q
    noise, offsets = _ACCEPTED * rounding(m, torch.float64), float(np.abs(q).max())
    system, sides = C, both
    members: NDArray[np.bool_] | None = None
    for _ in range(_EXCHANGES):
        try:
            solved = np.linalg.solve(system, sides)
        except np.linalg.LinAlgError:  # a set is singular to the last bit
            return None
        products = solved.T.dot(both).tolist()
        level = np.array((_level(*products[0], *products[1]), -1.0))
        v: _Floats = solved.dot(level)
        image: _Floats = C.dot(v)
        total = m * float(np.abs(v).dot(_mean(m)))
        conditions = np.minimum(v, image - both.dot(level))
        allowed = noise * (1.0 + total + offsets)
        if not float(conditions.min()) < -allowed:
            length = sqrt(max(float(v.dot(image)), 0.0))
            sound = _is_sound(length, total, m, dtype)
            return np.maximum(v, 0.0) * (e * (radius / length)) if sound else None
        wrong = conditions < -allowed
        members = ~wrong if members is None else members ^ wrong
        inside = members[:, None]
        system = np.where(inside & members, C, _eye(m).numpy())
        sides = np.where(inside, both, 0.0)
    return None


def _level(ee: float, eq: float, qe: float, qq: float) -> float:
    """Return the level at which y has length 1, or nearly so where there is none."""
    if not ee > 0.0:
        return nan
    return (eq + sqrt(max(eq * qe - ee * (qq - 1.0), 0.0))) / ee


@lru_cache(64)
def _mean(m: int) -> _Floats:
    return np.full(m, 1.0 / m)


@lru_cache(64)
def _ones(m: int) -> _Floats:
    return np.ones(m)


@lru_cache(64)
def _eye(m: int) -> Tensor:
    return torch.eye(m, dtype=torch.float64, device="cpu")  # whatever the default device is
