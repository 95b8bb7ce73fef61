"""Jacobians on which exact solvers are compared with an independent one."""

import warnings

import cvxpy as cp
import torch
from torch import Tensor


def jacobian(seed: int) -> Tensor:
    """Return rows, 2 to 32 of them, of a structure that the seed picks, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    m = 2 + seed % 31
    n = [2 * m + 5, m, (m + 1) // 2, (m + 2) // 3, 3, max(1, m - 1)][seed % 6]
    J = normal(m, n)
    if seed % 4 == 0:
        J = J + 2.0 * normal(n)  # rows with something in common
    if seed % 5 == 0:
        scales = torch.logspace(-2, 2, m, dtype=torch.float64)
        J = J * scales[torch.randperm(m, generator=generator)][:, None]
    if seed % 7 == 0:
        J[-1] = J[0]
    if seed % 11 == 0:
        J[-1] = -J[0]
    if seed % 13 == 0:
        J[0] = 0.0
    return J


def least_weights(J: Tensor, radius: float, offsets: Tensor) -> Tensor:
    """Return the w of the simplex of least ``w @ offsets + radius * |J.T @ w|``, by cvxpy.

    :param J: Rows, of shape ``[m, n]``.
    :param radius: A factor, at least 0.
    :param offsets: Of shape ``[m]``.
    """
    unit = float(radius * J.norm(dim=1).max() + offsets.abs().max())
    w = cp.Variable(len(J), nonneg=True)
    length = cp.norm((radius / unit * J).T.numpy() @ w)
    problem = cp.Problem(cp.Minimize((offsets / unit).numpy() @ w + length), [cp.sum(w) == 1])
    with warnings.catch_warnings():
        # That of a solution which may be inaccurate: it is compared from one side only.
        warnings.simplefilter("ignore")
        problem.solve(solver=cp.CLARABEL)
    found = torch.as_tensor(w.value, dtype=torch.float64).clamp_min(0.0)
    return found / found.sum()
