"""The projector that methods use unless told otherwise."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from torchjd.linalg import DualConeProjector

from ._active_set import ActiveSetSolver
from ._correlation import CorrelationProblem
from ._polish import residuals, solve_on_sets

# Relative residual up to which a polished solution is final, in units of the Gramian's rounding.
_ACCEPTED = 4.0


@cache
def ridge_solver() -> Callable[[Tensor, Tensor, float], Tensor] | None:
    """Return the solver by quadprog; None where it is not installed: it is GPL, so optional."""
    try:
        from ._quadprog import solve_with_ridge
    except ImportError:
        return None
    return solve_with_ridge


class ExactProjector(DualConeProjector):
    r"""Project onto the dual cone exactly: no regularisation, whatever the lengths of the rows.

    The problem is solved on the correlation Gramian, by quadprog where it is installed. What that
    does not solve up to rounding is solved on the active sets it found, for all combinations
    together, and what is still open by an active-set method that stands singular Gramians. It runs
    on the CPU, in float64: a Gramian on another device is copied there.

    From a float64 Gramian no row :math:`g_i` has
    :math:`g_i \cdot d < -10^{-9} \|g_i\| \max_j \|g_j\|`.

    >>> import torch
    >>> from jd_aggregators import ExactProjector
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> ExactProjector()(torch.eye(2, dtype=torch.float64), J @ J.T)
    tensor([[1.0000, 0.5000],
            [1.0000, 1.0000]], dtype=torch.float64)
    """

    def __call__(self, U: Tensor, G: Tensor) -> Tensor:
        r"""Return the weights :math:`V` of the projections.

        :param U: The combinations to project, of shape ``[..., k, m]``.
        :param G: The Gramian, of shape ``[..., m, m]``, of the same leading dimensions.
        :returns: A tensor of the shape and device of ``U``, of dtype float64. NaN where ``U`` or
            ``G`` is not finite.
        :raises ValueError: If the shapes do not fit.
        """
        m = G.shape[-1] if G.ndim else 0
        fits = G.ndim >= 2 and U.ndim == G.ndim and U.shape[-1] == m and G.shape[-2] == m
        if not fits or U.shape[:-2] != G.shape[:-2]:
            raise ValueError(
                "`U` and `G` must have shapes [..., k, m] and [..., m, m]. "
                f"Got {list(U.shape)} and {list(G.shape)}."
            )
        if U.ndim == 2:
            return _project(U, G)
        problems = zip(U.flatten(0, -3), G.flatten(0, -3), strict=True)
        solved = [_project(u, g) for u, g in problems]
        return torch.stack(solved).view(U.shape) if solved else U.to(torch.float64)

    def __repr__(self) -> str:
        return "ExactProjector()"


def _project(U: Tensor, G: Tensor) -> Tensor:
    if not (torch.isfinite(G).all() and torch.isfinite(U).all()):
        return torch.full_like(U, torch.nan, dtype=torch.float64)
    problem = CorrelationProblem.of(U, G)
    Q = problem.U @ problem.C
    W = _solve(problem.C, Q, problem.noise)
    return problem.weights(W, U)


def _solve(C: Tensor, Q: Tensor, noise: float) -> Tensor:
    solve_with_ridge = ridge_solver()
    if solve_with_ridge is None:
        return _solve_anew(C, Q, torch.zeros_like(Q, dtype=torch.bool), noise)
    W = solve_with_ridge(C, Q, noise)
    _redo(C, Q, W, noise, lambda rows: solve_on_sets(C, Q[rows], W[rows] > 0))
    _redo(C, Q, W, noise, lambda rows: _solve_anew(C, Q[rows], W[rows] > 0, noise))
    return W.clamp_min(0.0)


def _redo(C: Tensor, Q: Tensor, W: Tensor, noise: float, solve: Callable[[Tensor], Tensor]) -> None:
    """Replace the rows of ``W`` that are not optimal up to rounding."""
    rows = (residuals(C, Q, W) > _ACCEPTED * noise).nonzero().flatten()
    if len(rows) > 0:
        W[rows] = solve(rows)


def _solve_anew(C: Tensor, Q: Tensor, likely: Tensor, noise: float) -> Tensor:
    exact = ActiveSetSolver(C, noise)
    return torch.stack([exact.solve(q, start) for q, start in zip(Q, likely, strict=True)])
