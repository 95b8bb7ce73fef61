r"""Weights that share progress alpha-fairly: :math:`G w = w^{-1/\alpha}`."""

import warnings
from typing import Any

import torch
from torch import Tensor

from torchjd.linalg import PSDMatrix

from ._arithmetic import weigh
from ._on_host import on_host
from ._projection._base import rounding

# Where progress can be seen, most problems take 4 steps of Newton's method, and none of thousands
# took more than 130 for alpha from 0.05 to 20.
_MOST_STEPS = 300
_CONVERGED = 1e-12
_SHORTEST = 1e-12


def alpha_fair_weights(gramian: PSDMatrix, alpha: float, max_steps: int | None = None) -> Tensor:
    r"""Return the w > 0 for which :math:`G w = w^{-1/\alpha}`, element by element.

    It is the minimum of :math:`\tfrac12 w^\top G w - \sum_i \varphi(w_i)` with
    :math:`\varphi' = w^{-1/\alpha}`, which is strictly convex. There is none where the rows are
    Pareto stationary: where a convex combination of them, scaled to length 1, is zero. If one is
    shorter than 1e-6, the rounding of a float64 Gramian hides its direction, and that of float32
    rows does too; then all weights are 0.

    :param gramian: Of shape ``[m, m]``.
    :param alpha: Above 0.
    :param max_steps: After how many steps of Newton's method to stop. Default: when converged; if
        values cannot be looked at, after a number that is enough for most problems.
    :returns: The weights, of shape ``[m]``: 0 for rows of zeros, NaN where ``gramian`` is not
        finite.
    """
    shortest = max(_SHORTEST, 2.0 * torch.finfo(gramian.dtype).eps)
    noise = rounding(len(gramian), gramian.dtype)

    def compute(xp: Any, G: Any, _: Any) -> Any:
        # With c the solution for orthogonal rows of these lengths, u = w / c is near 1 whatever the
        # lengths are, and solves C v = y for v = u r and y = u^(-1/alpha) r, with the correlation
        # Gramian C.
        squares = G.diagonal()
        alive = (squares > 0) * xp.ones_like(squares)
        lengths = xp.sqrt(squares * alive + (1.0 - alive))
        C = G / (lengths[:, None] * lengths)
        r = alive * lengths ** ((1.0 - alpha) / (1.0 + alpha))
        u = _newton(xp, C, r, alpha, shortest, noise, max_steps)
        return u * alive * lengths ** (-2.0 * alpha / (1.0 + alpha))

    return weigh(compute, gramian)


def _newton(
    xp: Any,
    C: Any,
    r: Any,
    alpha: float,
    shortest: float,
    noise: float,
    max_steps: int | None,
) -> Any:
    """Return u > 0 such that C v = y, for v = u r and y = u^(-1/alpha) r; else zeros.

    :param xp: torch or numpy.
    :param C: The correlation Gramian, of shape ``[m, m]``.
    :param r: Of shape ``[m]``; 0 for rows of zeros.
    :param alpha: The exponent.
    :param shortest: The squared length of a convex combination of rows that counts as zero.
    :param noise: The rounding that entries of ``C`` carry.
    :param max_steps: After how many steps to stop, or None.
    """
    looks = xp is not torch or on_host(C)
    q = 1.0 / alpha
    enough = _MOST_STEPS if looks else int(20 + 4 * min(max(alpha, q), 20.0))
    # Exponents stay where neither u nor u^(-1/alpha) overflows.
    limit = (600.0 if C.dtype.itemsize == 8 else 70.0) * min(1.0, alpha)
    dead, identity = (r == 0) * xp.ones_like(r), xp.diag(xp.ones_like(r))
    x, exists = xp.zeros_like(r), r.sum() > 0
    for _ in range(max_steps or enough):
        v, y = xp.exp(x) * r, xp.exp(-q * x) * r
        progress, total = C @ v, v.sum()
        square, least = v @ progress, shortest * total * total
        exists = exists & (square > least)
        if looks and not exists:
            break
        # Along the ray through v, the minimum is known.
        shift = xp.log((v @ y) / square.clip(least)) / (1.0 + q)
        t = xp.exp(shift)
        x, v, y = x + shift, v * t, y * t**-q
        gap = y - progress * t
        if looks and (abs(gap) <= _CONVERGED * y + noise * t * total).all():
            break
        # The Newton equation for the logarithm of u, scaled to a diagonal of 1. The noise bounds
        # its condition, and does not move the solution.
        curvature = q * v * y + noise * v * v + dead
        scale = 1.0 / xp.sqrt(v * v + curvature)
        k = v * scale
        H = C * (k[:, None] * k) + identity * (curvature * scale * scale)
        step = _solve(xp, H, gap * k) * scale
        # Of v and y one grows, and does so by as much as the equation says, which is linear in
        # both. The logarithm would go too far where it is large, and v itself below zero.
        grows = step > -0.1 * min(1.0, alpha)
        x = x + xp.where(grows, xp.log1p(step), -alpha * xp.log1p(-q * step))
        x = x.clip(-limit, limit)
    else:
        if looks and max_steps is None:
            _warn(alpha)
    return xp.where(exists, xp.exp(x), xp.zeros_like(x))


def _solve(xp: Any, H: Any, b: Any) -> Any:
    if xp is torch:
        return torch.linalg.solve_ex(H, b)[0]
    try:
        return xp.linalg.solve(H, b)
    except xp.linalg.LinAlgError:  # singular to the last bit
        return b


def _warn(alpha: float) -> None:
    warnings.warn(
        f"The weights for `alpha={alpha}` have not converged in {_MOST_STEPS} steps, and are those "
        "of the last. Take one between 0.05 and 20.",
        RuntimeWarning,
        stacklevel=2,
    )
