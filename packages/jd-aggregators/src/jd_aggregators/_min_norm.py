"""The point of least norm in the convex hull of the rows."""

from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from ._on_host import on_host
from ._precision import widened
from ._projection._base import ridge, rounding
from ._projection._choice import solve_where_it_is
from ._projection._correlation import correlation


class MinNormSolver:
    r"""Find the convex combination of a Jacobian's rows that has the least norm.

    .. math:: \min_w \; w^\top G w \quad \text{such that} \quad w \ge 0, \; \sum_j w_j = 1,
        \qquad G = J J^\top

    With :math:`\kappa > 0`, the solution of

    .. math:: \min_{v \ge 0} \; v^\top G v + \kappa \left( \sum_j v_j - 1 \right)^2

    points in the same direction: for :math:`v = s w` with :math:`s` fixed, it is the problem above.
    So it is solved as a projection is, by the same exact methods: on the CPU by active sets, on
    other devices by one that stays there; two rows on the CPU by the formula for a segment. As
    :math:`\kappa` the shortest row's square is taken, so that it counts as much as what it is added
    to. Sources: Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23, for the
    reduction; Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective
    optimization", Comptes Rendus Mathematique, 2012, for its use.

    >>> import torch
    >>> from torchjd.linalg import MinNormSolver
    >>> J = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> MinNormSolver()(J @ J.T)
    tensor([0.1000, 0.9000], dtype=torch.float64)
    """

    def __call__(self, G: Tensor) -> Tensor:
        """Return the weights.

        :param G: Gramians of shape ``[..., m, m]``, positive semi-definite up to their rounding,
            with ``m >= 1``.
        :returns: Weights of shape ``[..., m]``, at least 0, of sum 1, of dtype float64 (float32 on
            devices without). NaN where a Gramian is not finite. Of several rows that are zero, each
            gets the same weight.
        :raises ValueError: If the shape does not fit.
        """
        if G.ndim < 2 or G.shape[-1] != G.shape[-2] or G.shape[-1] == 0:
            raise ValueError(
                "`G` must be a Gramian, of shape [..., m, m] with m >= 1. "
                f"Got shape {list(G.shape)}."
            )
        gramian = widened(G)
        few = _solver_for_few_rows() if on_host(G) else None
        if few is None or G.shape[-1] > few.MOST:
            return _least_norm(gramian, G.dtype)
        damping, noise = ridge(G.shape[-1], G.dtype), rounding(G.shape[-1], gramian.dtype)
        if G.ndim == 2:
            one: Tensor = few.least_norm_by_numpy(gramian, damping, noise)
            return one
        weights = gramian.new_empty(G.shape[:-1])
        for w, g in zip(weights.view(-1, G.shape[-1]), gramian.flatten(0, -3), strict=True):
            w[:] = few.least_norm_by_numpy(g, damping, noise)
        return weights

    def __repr__(self) -> str:
        return "MinNormSolver()"


@cache
def _solver_for_few_rows() -> ModuleType | None:
    """Return the module that solves by numpy; None where that is not installed."""
    try:
        from . import _min_norm_small
    except ImportError:
        return None
    return _min_norm_small


def _least_norm(gramian: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weights for Gramians of shape ``[..., m, m]`` that came in ``dtype``."""
    m = gramian.shape[-1]
    squares = gramian.diagonal(dim1=-2, dim2=-1)
    zero = squares <= 0
    shortest = squares.amin(-1, keepdim=True)
    kappa = torch.where(shortest > 0, shortest, 1.0)
    C, scales = correlation(gramian + kappa[..., None], ridge(m, dtype))
    Q = -(kappa.sqrt() * scales)[..., None, :]  # over the root of kappa: without units
    W = solve_where_it_is(C, Q, rounding(m, gramian.dtype))
    weights = torch.where(zero.any(-1, keepdim=True), zero.to(gramian.dtype), W[..., 0, :] * scales)
    return weights / weights.sum(-1, keepdim=True)
