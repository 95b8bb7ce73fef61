"""The shortest vector that satisfies inequalities given by unit rows."""

from typing import Any

import torch
from torch import Tensor

from ._projection._base import rounding
from ._projection._choice import solve_where_it_is

# How many times the error that the entries of C may cause the residual is of what has a solution.
_INFEASIBLE = 4.0


def least_distance(module: Any, C: Any, h: Any, noise: float) -> tuple[Any, Any]:
    r"""Return the weights v for which :math:`x = \sum_j v_j a_j` solves the problem below.

    .. math:: \min_x \|x\| \quad \text{such that} \quad a_j \cdot x \ge h_j \text{ for all } j

    It is solved as least squares with weights that are at least 0: with u the minimiser of
    :math:`\|\sum_j u_j a_j\|^2 + (1 - h^\top u)^2` over :math:`u \ge 0`, the weights are
    :math:`u / (1 - h^\top u)`. That problem always has a solution, and what it leaves is 0 exactly
    where no x satisfies the inequalities. Source: Lawson and Hanson, "Solving Least Squares
    Problems", 1974, chapter 23, section 4.

    :param module: ``torch``, or ``numpy``: that of the arrays.
    :param C: The inner products of the rows :math:`a_j`, of shape ``[k, k]``, with a diagonal of
        about 1.
    :param h: The bounds, of shape ``[k]``, computed from numbers of up to about 1.
    :param noise: How large a bound counts as none, and an error of an entry of ``C`` may be.
    :returns: The weights, of shape ``[k]``, at least 0, and whether there is a solution, of shape
        ``[]``: where there is none, the weights mean nothing. NaN where an input is not finite.
    """
    if len(h) == 1:
        return module.clip(h / C.diagonal(), 0.0, None), module.isfinite(h[0])
    # In units of the bound that is missed most, so that what is left is about 1 where the problem
    # is a good one, whatever the scale of the bounds.
    most = module.amax(h)
    needed = most > noise
    unit = module.where(needed, most, 1.0)
    bounds = module.where(needed, h / unit, -1.0)
    lengths = module.sqrt(C.diagonal() + bounds * bounds)
    gramian = (C + bounds[:, None] * bounds) / (lengths[:, None] * lengths)
    u = _solve(module, gramian, -(bounds / lengths)[None])[0] / lengths
    left = 1.0 - bounds @ u
    error = noise * (1.0 + u.sum()) ** 2
    # NaN in `h` makes `needed` False.
    return module.where(needed, unit * u / left, 0.0 * h), ~needed | (left > _INFEASIBLE * error)


def _solve(module: Any, C: Any, Q: Any) -> Any:
    if module is torch:
        return solve_where_it_is(C, Q, rounding(len(C), C.dtype))
    tensors = torch.from_numpy(C), torch.from_numpy(Q)
    found: Tensor = solve_where_it_is(*tensors, rounding(len(C), torch.float64))
    return found.numpy()
