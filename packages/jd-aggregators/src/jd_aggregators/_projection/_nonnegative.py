"""The problem behind the projections, solved on the CPU by whatever is best for it."""

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._apex import solve_at_apex
from ._lawson_hanson import solve_by_lawson_hanson
from ._pivoting import solve_by_pivoting

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    RowSpaceSolver = Callable[[NDArray[Any], NDArray[Any], NDArray[Any] | None, float], Any]

ACCEPTED = 4.0
"""Relative residual up to which a solution is final, in units of rounding."""

# Steps after which a start has turned out to be of no help.
_STEPS = 12


@cache
def row_space_solver() -> "RowSpaceSolver | None":
    """Return the solver by quadprog; None where it is not installed: it is GPL, so optional."""
    try:
        from ._quadprog import solve_in_row_space
    except ImportError:
        return None
    return solve_in_row_space


def solve_nonnegative(
    C: Tensor, Q: Tensor, S: Tensor | None, noise: float, start: Tensor | None = None
) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    :param C: A matrix of shape ``[m, m]`` with a diagonal of about 1, positive semi-definite up to
        its rounding; float64 on the CPU.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param S: The combinations for which ``Q = S C``, of the shape of ``Q``; None if there are none.
    :param noise: The rounding that entries of ``C`` carry.
    :param start: Which weights are likely positive, of the shape of ``Q``, dtype bool.
    :returns: The weights, of the shape of ``Q``, at least 0. NaN in the rows of ``Q`` that are not
        finite.
    """
    finite = torch.isfinite(Q).all(1)
    if not bool(finite.all()):
        W = torch.full_like(Q, torch.nan)
        if bool(finite.any()):
            W[finite] = solve_nonnegative(C, Q[finite], None if S is None else S[finite], noise)
        return W
    found = solve_by_pivoting(C, Q, noise, start)
    W = torch.full_like(Q, torch.nan) if found is None else found
    if found is not None and start is not None:
        rows = _open(C, Q, W, noise)
        if len(rows) > 0:
            W[rows] = solve_by_lawson_hanson(C, Q[rows], noise, start[rows], _STEPS)
    return complete(C, Q, S, W, noise)


def complete(C: Tensor, Q: Tensor, S: Tensor | None, W: Tensor, noise: float) -> Tensor:
    """Return ``W`` with the rows solved anew that are not optimal up to rounding.

    By quadprog where it is installed, and what that leaves open by the method of Lawson and Hanson.
    The parameters are those of :func:`solve_nonnegative`; ``Q`` is finite.
    """
    quadprog = row_space_solver()
    if quadprog is not None:
        rows = _open(C, Q, W, noise)
        if len(rows) > 0:
            s = None if S is None else S[rows].numpy()
            W[rows] = torch.from_numpy(quadprog(C.numpy(), Q[rows].numpy(), s, noise))
    elif S is not None:
        rows = _open(C, Q, W, noise)
        at_apex = solve_at_apex(C, S[rows], noise) if len(rows) > 1 else None
        if at_apex is not None:
            W[rows] = at_apex
    rows = _open(C, Q, W, noise)
    if len(rows) > 0:
        W[rows] = solve_by_lawson_hanson(C, Q[rows], noise, W[rows] > 0)
    return W.clamp_min_(0.0)


def _open(C: Tensor, Q: Tensor, W: Tensor, noise: float) -> Tensor:
    r"""Return the rows of ``W`` in which :math:`\min(w, C w + q)` is not 0 up to rounding."""
    allowed = ACCEPTED * noise * (1.0 + W.abs().sum(1, keepdim=True))
    optimal = torch.minimum(W, torch.addmm(Q, W, C)).abs() <= allowed
    return (~optimal.all(1)).nonzero().flatten()
