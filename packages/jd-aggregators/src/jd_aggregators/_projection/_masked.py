"""The exact solutions on guessed active sets, for a batch of problems together."""

import torch
from torch import Tensor

# Singular blocks are factorised with this many units of the rounding of C on their diagonals, which
# the refinement takes away again wherever C has more to say than that.
_RIDGE = 64.0
_REFINEMENTS = 3


def solve_on_sets(C: Tensor, Q: Tensor, active: Tensor, noise: float, W: Tensor) -> Tensor:
    r"""Return, for each row, the solution of :math:`C_{AA} w_A = -q_A`, with zeros elsewhere.

    Where that has several solutions, it is one close to ``W``.

    :param C: Correlation matrices of shape ``[..., m, m]``.
    :param Q: One problem a row, of shape ``[..., k, m]``.
    :param active: For each problem its active set :math:`A`, of the shape of ``Q``, dtype bool.
    :param noise: The rounding that entries of ``C`` carry.
    :param W: What to start from, of the shape of ``Q``.
    :returns: A tensor of the shape of ``Q``. Meaningless where :math:`C_{AA}` is not positive
        semi-definite up to rounding.
    """
    identity = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device)
    inside = active[..., :, None] & active[..., None, :]
    blocks = torch.where(inside, (C + _RIDGE * noise * identity)[..., None, :, :], identity)
    factors = torch.linalg.cholesky_ex(blocks)[0]
    W = torch.where(active, W, 0.0)
    for _ in range(_REFINEMENTS):
        error = torch.where(active, Q + torch.matmul(W, C), 0.0)
        W = W - torch.cholesky_solve(error[..., None], factors)[..., 0]
    return W
