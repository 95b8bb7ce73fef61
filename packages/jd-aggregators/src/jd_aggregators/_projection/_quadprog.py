"""Active sets by the solver of the package quadprog."""

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


def guess_sets(C: Tensor, Q: Tensor, noise: float) -> Tensor | None:
    r"""Return which weights of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w` are positive.

    ``C`` is factorised once for all problems, with a ridge of the size of its own rounding, which
    makes it positive definite and hides nothing that it could tell.

    :param C: A correlation matrix of shape ``[m, m]``, float64.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :returns: A tensor of shape ``[k, m]``, dtype bool; None where quadprog is not installed.
    """
    solver = quadprog()
    factor = None if solver is None else _inverse_factor(C, noise)
    if solver is None or factor is None:
        return None
    m = C.shape[0]
    sets = torch.zeros(Q.shape, dtype=torch.bool)
    identity, zeros = torch.eye(m, dtype=C.dtype).numpy(), torch.zeros(m, dtype=C.dtype).numpy()
    for row, q in zip(sets, Q, strict=True):
        try:
            solved = solver.solve_qp(factor, (-q).numpy(), identity, zeros, 0, True)
        except ValueError:  # numerically inconsistent: the exact method starts from nothing
            continue
        row.fill_(True)
        row[torch.from_numpy(solved[5]).long() - 1] = False
    return sets


def _inverse_factor(C: Tensor, noise: float) -> Any:
    m = C.shape[0]
    eye = torch.eye(m, dtype=C.dtype)
    ridge = max(noise, m * torch.finfo(C.dtype).eps)
    for _ in range(8):
        factor, info = torch.linalg.cholesky_ex(C + ridge * eye, upper=True)
        if int(info) == 0:
            inverse = torch.linalg.solve_triangular(factor, eye, upper=True)
            return inverse.numpy()
        ridge *= 8
    return None
