"""Jacobians whose rows can all progress at once, and how an interior-point solver shares that."""

import warnings

import cvxpy as cp
import torch
from torch import Tensor


def solvable(seed: int) -> Tensor:
    """Return 2 to 32 rows in an open half-space, in float64, of a structure that the seed picks."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    m = 2 + seed % 31
    if seed % 3 == 0:
        J = normal(m, m + 3)  # independent rows
    else:
        left = normal(m, max(1, m // (1 + seed % 3)))
        left[:, 0] = left[:, 0].abs() + 0.3
        J = left @ normal(left.shape[1], m + 5)
    if seed % 4 == 0:
        scales = torch.logspace(-2, 2, m, dtype=torch.float64)
        J = J * scales[torch.randperm(m, generator=generator)][:, None]
    if seed % 7 == 0:
        J[-1] = J[0]
    return J


def shared(J: Tensor, alpha: float) -> Tensor:
    r"""Return the w that minimises :math:`|J^\top w|^2 / 2 - \sum_i \varphi(w_i)`, by cvxpy.

    :param J: Rows, of shape ``[m, n]``, none of them zero.
    :param alpha: With :math:`\varphi' = w^{-1/\alpha}`.
    """
    lengths = J.norm(dim=1)
    v = cp.Variable(len(J))
    if alpha == 1.0:
        phi = cp.sum(cp.log(v))
    else:
        p = 1.0 - 1.0 / alpha
        phi = (lengths**-p).numpy() @ cp.power(v, p) / p
    problem = cp.Problem(
        cp.Minimize(cp.sum_squares((J / lengths[:, None]).T.numpy() @ v) / 2 - phi)
    )
    exact = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-12)
    with warnings.catch_warnings():
        # That so much may not have been reached: what it found is compared to less.
        warnings.simplefilter("ignore")
        problem.solve(solver=cp.CLARABEL, **exact)
    return torch.as_tensor(v.value) / lengths


def assert_shared(J: Tensor, w: Tensor, alpha: float) -> None:
    """Assert that ``w`` solves :math:`J J^T w = w^(-1/alpha)`, and that cvxpy finds the same."""
    assert _residual(J, w, alpha) <= 1e-9
    other = shared(J, alpha)
    # It solves a conic problem to a gap: its weights are as good as its residual says.
    allowed = max(1e-6, 2.0 * max(1.0, alpha) * _residual(J, other, alpha))
    assert allowed < 1e-2, "nothing to compare with"
    assert float((w / other - 1.0).abs().max()) <= allowed


def _residual(J: Tensor, w: Tensor, alpha: float) -> float:
    return float(((J @ (w @ J)) * w ** (1.0 / alpha) - 1.0).abs().max())
