"""The exact solution on guessed active sets, for all right-hand sides together."""

import torch
from torch import Tensor

# Elements of the masked copies of C that are in memory at a time.
_CHUNK = 1 << 22


def solve_on_sets(C: Tensor, Q: Tensor, passive: Tensor) -> Tensor:
    r"""Return, for each row, the solution of :math:`C_{PP} w_P = -q_P`, with zeros elsewhere.

    :param C: A correlation matrix of shape ``[m, m]``, float64.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param passive: For each problem its passive set :math:`P`, of shape ``[k, m]``, dtype bool.
    :returns: A tensor of shape ``[k, m]``; NaN where :math:`C_{PP}` is not positive definite.
    """
    m = C.shape[0]
    size = max(1, _CHUNK // (m * m))
    parts = [
        _solve(C, Q[start : start + size], passive[start : start + size])
        for start in range(0, Q.shape[0], size)
    ]
    return torch.cat(parts)


def residuals(C: Tensor, Q: Tensor, W: Tensor) -> Tensor:
    r"""Return how far each row of ``W`` is from optimal.

    The largest of :math:`-w`, :math:`-z` and :math:`|w z|`, with :math:`z = C w + q`, relative to
    :math:`1 + \sum w`; infinite where ``W`` is not finite.
    """
    Z = W @ C + Q
    worst = torch.maximum(torch.maximum(-W, -Z), (W * Z).abs()).amax(dim=1)
    return torch.nan_to_num(worst / (1.0 + W.abs().sum(dim=1)), nan=torch.inf, posinf=torch.inf)


def _solve(C: Tensor, Q: Tensor, passive: Tensor) -> Tensor:
    inside = passive[:, :, None] & passive[:, None, :]
    blocks = torch.where(inside, C, torch.eye(C.shape[0], dtype=C.dtype, device=C.device))
    rhs = torch.where(passive, -Q, 0.0)[:, :, None]
    factors, info = torch.linalg.cholesky_ex(blocks)
    x = torch.cholesky_solve(rhs, factors)
    x = x + torch.cholesky_solve(rhs - blocks @ x, factors)
    return torch.where((info == 0)[:, None], x[:, :, 0], torch.nan)
