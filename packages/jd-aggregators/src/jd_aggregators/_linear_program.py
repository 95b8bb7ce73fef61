"""Small linear programs, by the simplex method."""

import torch
from torch import Tensor

_ZERO = 1e-11


def maximize(c: Tensor, A: Tensor, b: Tensor, w: Tensor) -> Tensor | None:
    r"""Return the x that solves the problem below, a vertex of what is allowed.

    .. math:: \max_x c^\top x \quad \text{such that} \quad A x \ge b, \; w^\top x = 1, \; x \ge 0

    Source: Dantzig, "Linear Programming and Extensions", 1963, for the method; Bland, "New finite
    pivoting rules for the simplex method", Mathematics of Operations Research, 1977, for the rule
    by which it ends.

    :param c: Of shape ``[n]``; float64 on the CPU. All entries are of at most about 1.
    :param A: Of shape ``[k, n]``.
    :param b: Of shape ``[k]``, at most 0.
    :param w: Of shape ``[n]``, above 0.
    :returns: Of shape ``[n]``; None where nothing is allowed, up to rounding.
    """
    k, n = A.shape
    # Slacks are the basis to begin with: x = 0 satisfies all but the equation, whose slack is 1.
    rows = torch.cat([-A, w[None]])
    slacks = torch.eye(k + 1, dtype=A.dtype, device=A.device)
    table = torch.cat([rows, slacks, torch.cat([-b, b.new_ones(1)])[:, None]], 1)
    basis = list(range(n, n + k + 1))
    last = n + k
    costs = torch.cat([w, w.new_zeros(k + 2)])
    table, basis = _climb(table, basis, costs, until=last)
    if last in basis:
        return None
    table[:, last] = 0.0
    costs = torch.cat([c, c.new_zeros(k + 2)])
    costs = costs - costs[basis] @ table
    costs[basis] = 0.0
    table, basis = _climb(table, basis, costs, until=None)
    x = c.new_zeros(n + k + 1)
    x[basis] = table[:, -1].clamp_min(0.0)
    return x[:n]


def _climb(
    table: Tensor, basis: list[int], costs: Tensor, until: int | None
) -> tuple[Tensor, list[int]]:
    """Exchange basic variables as long as that helps, or until one has left.

    :param table: The equations, solved for the basic variables, of shape ``[k, n + 1]``.
    :param basis: The basic variable of each row.
    :param costs: What a unit of each variable adds, of shape ``[n + 1]``, 0 for basic ones.
    :param until: The variable to be driven out; None for the optimum.
    """
    basis = list(basis)
    most = 4 * len(basis) + 8
    for step in range(50 * most):
        gains = costs[:-1]
        # The steepest is fastest, and may go in circles; the first that gains anything cannot.
        helping = (gains > _ZERO).nonzero().flatten().tolist()
        if not helping:
            break
        entering = int(gains.argmax()) if step < most else helping[0]
        column = table[:, entering]
        ratios = torch.where(column > _ZERO, table[:, -1].clamp_min(0.0) / column, torch.inf)
        least = float(ratios.min())
        if least == torch.inf:
            break
        tied = (ratios <= least).nonzero().flatten().tolist()
        leaving = min(tied, key=lambda row: basis[row] if basis[row] != until else -1)
        pivot_row = table[leaving] / column[leaving]
        table = table - torch.outer(column, pivot_row)
        table[leaving] = pivot_row
        costs = costs - costs[entering] * pivot_row
        left, basis[leaving] = basis[leaving], entering
        if left == until:
            break
    return table, basis
