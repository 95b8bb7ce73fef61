"""Projections by the solver of the package quadprog."""

import importlib
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


@cache
def quadprog() -> ModuleType | None:
    """Return the module, or None where it is not installed: it is GPL, so it must be optional."""
    try:
        return importlib.import_module("quadprog")
    except ImportError:
        return None


def solve_with_ridge(C: Tensor, Q: Tensor, noise: float) -> Tensor | None:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`, nearly.

    ``C`` is factorised once for all problems, with a ridge of the size of its own rounding, which
    makes it positive definite and hides nothing that it could tell.

    :param C: A correlation matrix of shape ``[m, m]``, float64.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :returns: A tensor of shape ``[k, m]``, exactly zero where a weight is at its bound, NaN in the
        rows that were not solved; None where quadprog is not installed, or ``C`` has no factor.
    """
    solver = quadprog()
    factor = None if solver is None else _inverse_factor(C, noise)
    if solver is None or factor is None:
        return None
    m = C.shape[0]
    W = torch.full_like(Q, torch.nan)
    identity, zeros = torch.eye(m, dtype=C.dtype).numpy(), torch.zeros(m, dtype=C.dtype).numpy()
    solutions, linear = W.numpy(), -Q.numpy()
    for k in range(Q.shape[0]):
        try:
            solved = solver.solve_qp(factor, linear[k], identity, zeros, 0, True)
        except ValueError:  # numerically inconsistent: the exact method starts from nothing
            continue
        solutions[k] = solved[0]
        solutions[k, solved[5] - 1] = 0.0
    return W


def _inverse_factor(C: Tensor, noise: float) -> Any:
    """Return the inverse of R, with ``R.T @ R`` equal to C and a ridge."""
    # numpy, which quadprog needs anyway: on a matrix this small, torch's threads cost more than
    # the factorisation, up to 100 times more where the cores are busy.
    import numpy as np

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
