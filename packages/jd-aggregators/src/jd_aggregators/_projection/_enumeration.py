"""The exact solution of small problems: all active sets at once."""

import torch
from torch import Tensor
from torch.nn.functional import threshold

from ._residual import error_bound

# Rows whose squared distance to the span of the others is below this many units of rounding count
# as dependent on them.
_DEPENDENT = 16.0
_FINALISTS = 3
_REFINEMENTS = 2


def solve_by_enumeration(C: Tensor, Q: Tensor, noise: float) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    The principal pivot on row :math:`j` exchanges :math:`w_j` and :math:`z_j` in the tableau
    :math:`T = [C \mid Q^\top]` of :math:`z = C w + q`:

    .. math:: T \leftarrow T - (T_{:j} + e_j) (T_{j:} - e_j)^\top / T_{jj}

    Doing it and not doing it, for one row after the other, makes the tableaux of all :math:`2^m`
    active sets :math:`A`, of which the last columns hold :math:`w_A` and the :math:`z` of the other
    rows. On the sets where these violate their signs least the problems are solved again, with
    iterative refinement, and the best solution is taken. Source: Tsatsomeros, "Principal pivot
    transforms: properties and applications", 2000.

    :param C: Correlation matrices of shape ``[b, m, m]``.
    :param Q: One problem a row, of shape ``[b, k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :returns: A tensor of the shape of ``Q``.
    """
    # The batch comes last, as elementwise operations are fast along what is contiguous.
    matrix, rhs = C.permute(1, 2, 0).contiguous(), Q.permute(2, 1, 0).contiguous()
    values = _values(matrix, rhs, _DEPENDENT * noise)
    score = (values.amin(0) - noise * values.amax(0)).nan_to_num(nan=-torch.inf)
    sets = score.topk(min(_FINALISTS, score.shape[1]), dim=1)[1]
    bits = torch.arange(C.shape[-1], device=C.device)[:, None, None, None]
    w = values.gather(2, sets.expand(len(values), -1, -1, -1))
    w = _refined(matrix, rhs, (sets >> bits) & 1 == 1, w)
    W = w.clamp_min(0.0).permute(3, 1, 2, 0)
    # Each finalist as a batch element of its own, for C is the same for all.
    errors = error_bound(C[:, None], Q[:, :, None], W, noise)
    best = errors.argmin(-1)[:, :, None, None].expand(-1, -1, 1, W.shape[-1])
    return W.gather(2, best)[:, :, 0]


def _values(C: Tensor, rhs: Tensor, dependent: float) -> Tensor:
    """Return ``w`` of the active rows and ``z`` of the others, for all active sets.

    :param C: Of shape ``[m, m, b]``.
    :param rhs: Of shape ``[m, k, b]``.
    :param dependent: The size up to which a pivot counts as zero: its sets become NaN.
    :returns: A tensor of shape ``[m, k, 2^m, b]``; bit ``j`` of the index of a set tells whether
        row ``j`` is active.
    """
    skip = torch.arange(2, device=C.device)[:, None, None] == 0
    # Division by infinity is what leaves a tableau as it is.
    no_pivot = torch.where(skip, torch.inf, 0.0).to(C.dtype)
    tableaux = torch.cat((C, rhs), 1)[:, :, None]
    for j, unit in enumerate(_unit_vectors(C)):
        column = tableaux.select(1, 0)
        # The columns of the rows that were decided upon are of no more use.
        tableaux = tableaux.narrow(1, 1, tableaux.shape[1] - 1)
        pivots = threshold(column.select(0, j) + no_pivot, dependent, torch.nan)
        rows = tableaux.select(0, j)[:, None] / pivots
        columns = (column + unit)[:, None, None]
        tableaux = torch.addcmul(tableaux[:, :, None], columns, rows, value=-1.0).flatten(2, 3)
    return tableaux


def _refined(C: Tensor, rhs: Tensor, active: Tensor, w: Tensor) -> Tensor:
    """Return accurate solutions on the ``active`` sets, of shape ``[m, k, f, b]``, from nearly."""
    m, k, finalists, b = w.shape
    matrix, q = C[:, :, None, None], rhs[:, :, None]
    no_pivot = torch.where(active, 0.0, torch.inf).to(C.dtype)
    tableau = matrix.expand(m, m, k, finalists, b)
    for j, unit in enumerate(_unit_vectors(C)):
        row = tableau.select(0, j)
        rows = (row - unit[..., None]) / (row.select(0, j) + no_pivot.select(0, j))
        columns = tableau.select(1, j) + unit[..., None]
        tableau = torch.addcmul(tableau, columns[:, None], rows, value=-1.0)
    # In the rows and columns of the set, the tableau is now the inverse.
    w = torch.where(active, w, 0.0)
    for _ in range(_REFINEMENTS):
        error = torch.where(active, (matrix * w).sum(1) + q, 0.0)
        w = torch.where(active, w - (tableau * error).sum(1), 0.0)
    return w


def _unit_vectors(C: Tensor) -> tuple[Tensor, ...]:
    """Return ``e_j`` for each row of ``C``, of shape ``[m, 1, 1]``."""
    identity = torch.eye(C.shape[0], dtype=C.dtype, device=C.device)
    return tuple(identity[:, :, None, None].unbind())
