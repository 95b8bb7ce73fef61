"""Projections by the solver of the package quadprog, which must be installed for the import."""

import numpy as np
import quadprog
import torch
from numpy.typing import NDArray
from torch import Tensor


def solve_with_ridge(C: Tensor, Q: Tensor, noise: float) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`, nearly.

    ``C`` is factorised once for all problems, with a ridge of the size of its own rounding, which
    makes it positive definite and hides nothing that it could tell.

    :param C: A correlation matrix of shape ``[m, m]``, float64.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :returns: A tensor of shape ``[k, m]``, exactly zero where a weight is at its bound, NaN in the
        rows that were not solved.
    """
    m = C.shape[0]
    W = torch.full_like(Q, torch.nan)
    factor = _inverse_factor(C, noise)
    if factor is None:
        return W
    solutions, linear = W.numpy(), -Q.numpy()
    identity, zeros = np.eye(m), np.zeros(m)
    for k in range(Q.shape[0]):
        try:
            solved = quadprog.solve_qp(factor, linear[k], identity, zeros, 0, True)
        except ValueError:  # numerically inconsistent: the exact method starts from nothing
            continue
        solutions[k] = solved[0]
        solutions[k, solved[5] - 1] = 0.0
    return W


def _inverse_factor(C: Tensor, noise: float) -> NDArray[np.float64] | None:
    """Return the inverse of R, with ``R.T @ R`` equal to C and a ridge; None if there is none."""
    # By numpy, which quadprog needs anyway: on a matrix this small, torch's threads cost more than
    # the factorisation, up to 100 times more where the cores are busy.
    m = C.shape[0]
    matrix, identity = C.numpy(), np.eye(m)
    ridge = max(noise, m * torch.finfo(C.dtype).eps)
    for _ in range(8):
        try:
            factor = np.linalg.cholesky(matrix + ridge * identity)
        except np.linalg.LinAlgError:
            ridge *= 8
        else:
            return np.asfortranarray(np.linalg.inv(factor).T)
    return None
