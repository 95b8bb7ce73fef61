"""The exact projector for the CPU."""

from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from ._base import CorrelationProjector, ridge, rounding
from ._correlation import project
from ._nonnegative import solve_nonnegative


class ActiveSetProjector(CorrelationProjector):
    r"""Project onto the dual cone exactly, by active sets, on the CPU.

    For each combination :math:`u` it finds the rows of positive :math:`w` in

    .. math:: v = u + w, \qquad w \ge 0, \quad z = G v \ge 0, \quad w_j z_j = 0,

    on the correlation Gramian, in float64. Block principal pivoting finds them for all combinations
    together; what it leaves open, because rows are dependent or nearly so, is solved by quadprog
    where it is installed, else by the method of Lawson and Hanson. The answers are the same.
    Gramians on another device are copied to the CPU. Sources: Júdice and Pires, "A block principal
    pivoting algorithm for large-scale strictly monotone linear complementarity problems", Computers
    & Operations Research, 1994; Goldfarb and Idnani, "A numerically stable dual method for solving
    strictly convex quadratic programs", Mathematical Programming, 1983; Lawson and Hanson, "Solving
    Least Squares Problems", 1974, chapter 23.

    :param damping: What is added to the diagonal of the correlation Gramian, whose mean is 1. With
        0 the projection is exact.
    :raises TypeError: If ``damping`` is no real number.
    :raises ValueError: If ``damping`` is negative or not finite; when called, if shapes do not fit.

    >>> import torch
    >>> from torchjd.linalg import ActiveSetProjector
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> ActiveSetProjector()(torch.eye(2, dtype=torch.float64), J @ J.T)
    tensor([[1.0000, 0.5000],
            [1.0000, 1.0000]], dtype=torch.float64)
    """

    def _project(self, U: Tensor, G: Tensor, start: Tensor | None) -> Tensor:
        return project_on_cpu(U, G, self.damping, start)

    def project_rows(self, p: Tensor, G: Tensor) -> Tensor:
        found = project_few_rows(p, G, self.damping)
        return super().project_rows(p, G) if found is None else found


def project_few_rows(p: Tensor, G: Tensor, damping: float) -> Tensor | None:
    """Return what ``project_rows`` of a projector does, where there are few rows; else None.

    That is where the time goes into calls rather than into arithmetic, so it takes the fewest.
    """
    m = G.shape[-1]
    numpy = numpy_solver()
    if G.ndim != 2 or p.shape != (m,) or numpy is None or m > numpy.MOST:
        return None
    wide = p.detach().to("cpu", torch.float64), G.detach().to("cpu", torch.float64)
    noise = rounding(m, torch.float64)
    found: Tensor = numpy.project_rows_by_numpy(*wide, damping + ridge(m, G.dtype), noise)
    return found.to(p.device)


def project_on_cpu(U: Tensor, G: Tensor, damping: float, start: Tensor | None) -> Tensor:
    """Return the weights of the projections, in float64, on the device of ``U``.

    :param U: Combinations of the rows, of shape ``[..., k, m]``, contiguous.
    :param G: Gramians of shape ``[..., m, m]``, contiguous.
    :param damping: What is added to the diagonal of the correlation Gramian.
    :param start: Which weights are likely above their bounds, of the shape of ``U``.
    """
    noise = rounding(G.shape[-1], torch.float64)
    damping += ridge(G.shape[-1], G.dtype)
    device = U.device
    U, G = U.to("cpu", torch.float64), G.to("cpu", torch.float64)
    start = None if start is None else start.to("cpu")
    if U.ndim == 2:
        return _project_one(U, G, damping, noise, start).to(device)
    weights = torch.empty_like(U)
    starts = [None] * G[..., 0, 0].numel() if start is None else start.flatten(0, -3)
    batch = (tensor.flatten(0, -3) for tensor in (weights, U, G))
    for v, u, g, s in zip(*batch, starts, strict=True):
        v[:] = _project_one(u, g, damping, noise, s)
    return weights.to(device)


def _project_one(
    U: Tensor, G: Tensor, damping: float, noise: float, start: Tensor | None
) -> Tensor:
    by_numpy = numpy_solver()
    if by_numpy is not None and len(G) <= by_numpy.MOST:
        found: Tensor = by_numpy.project_by_numpy(U, G, damping, noise)
        return found

    def solve(C: Tensor, Q: Tensor, S: Tensor) -> Tensor:
        return solve_nonnegative(C, Q, S, noise, start)

    return project(U, G, damping, solve)


@cache
def numpy_solver() -> ModuleType | None:
    """Return the module that solves by numpy; None where it is not installed."""
    try:
        from . import _numpy
    except ImportError:
        return None
    return _numpy
