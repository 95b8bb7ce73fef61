"""Large problems: active sets by matrix products, exact solutions on them, few factorisations."""

import torch
from torch import Tensor

from ._chunks import in_chunks
from ._interior_point import solve_by_interior_point
from ._masked import solve_on_sets
from ._projected_gradients import descend
from ._residual import error_bound

_ROUNDS = 4
# The worst solved problems, which the interior-point method solves again: a part of all, and never
# fewer than can be solved side by side.
_HARD_PART = 0.25
_HARD_AT_LEAST = 8


def solve_by_matrix_products(C: Tensor, Q: Tensor, noise: float, start: Tensor | None) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    Projected gradients, which all problems take together in one matrix product a step, find the
    active sets where ``C`` is not ill-conditioned. Block principal pivoting corrects them: it
    solves on the sets exactly, and exchanges every weight and slack that is negative (Portugal,
    Judice and Vicente, "A comparison of block pivoting and interior-point algorithms for linear
    least squares problems with nonnegative variables", 1994). The problems with the largest
    residuals go to the interior-point method. Each gets the best of the solutions.

    :param C: Correlation matrices of shape ``[b, m, m]``.
    :param Q: One problem a row, of shape ``[b, k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :param start: Which weights are likely positive, of the shape of ``Q``.
    :returns: A tensor of the shape of ``Q``.
    """
    m, k = C.shape[-1], Q.shape[1]

    def exact(c: Tensor, q: Tensor, active: Tensor) -> Tensor:
        return solve_on_sets(c, q, active, noise, torch.zeros_like(q))

    def interior(c: Tensor, q: Tensor) -> Tensor:
        return solve_by_interior_point(c, q, noise)

    def better(c: Tensor, q: Tensor, w: Tensor, found: Tensor) -> Tensor:
        improves = error_bound(c, q, found, noise) < error_bound(c, q, w, noise)
        return torch.where(improves[..., None], found, w)

    n_hard = max(_HARD_AT_LEAST, int(_HARD_PART * k))
    if n_hard >= k:
        return in_chunks(interior, 4 * m * m, C, Q)
    W = torch.zeros_like(Q)
    if start is not None:
        W = better(C, Q, W, in_chunks(exact, 4 * m * m, C, Q, start).clamp_min(0.0))
    found = descend(C, Q, W)
    active = found > 0
    W = better(C, Q, W, found)
    for _ in range(_ROUNDS):
        found = in_chunks(exact, 4 * m * m, C, Q, active)
        slack = torch.matmul(found, C) + Q
        W = better(C, Q, W, found.clamp_min(0.0))
        active = torch.where(active, found > 0, slack < -noise)
    hard = error_bound(C, Q, W, noise).topk(n_hard)[1][..., None].expand(-1, -1, m)
    q = Q.gather(1, hard)
    solved = better(C, q, W.gather(1, hard), in_chunks(interior, 4 * m * m, C, q))
    return W.scatter(1, hard, solved)
