"""Independent rows among given ones."""

import torch
from torch import Tensor


def independent_rows(C: Tensor, among: Tensor, tolerance: float) -> Tensor:
    """Return rows of ``among`` that are independent and span the others, for several sets.

    A Cholesky factorisation with diagonal pivoting, of all sets in step.

    :param C: A correlation matrix of shape ``[m, m]``.
    :param among: A set a row, of shape ``[k, m]``, dtype bool.
    :param tolerance: Squared distances to the span up to this count as none.
    :returns: The subsets, of shape ``[k, m]``, dtype bool.
    """
    chosen = torch.zeros_like(among)
    left = torch.where(among, C.diagonal(), 0.0)
    columns = C.new_zeros(int(among.sum(1).max()), *among.shape)
    every = torch.arange(among.shape[0], device=C.device)
    for i in range(columns.shape[0]):
        size, pivot = left.max(1)
        usable = size > tolerance
        if not bool(usable.any()):
            break
        chosen[every, pivot] |= usable
        known = columns[:i]
        column = C[pivot] - torch.einsum("ikm,ik->km", known, known[:, every, pivot])
        column = torch.where(usable[:, None], column / size.clamp_min(tolerance).sqrt()[:, None], 0)
        columns[i] = column
        left = torch.where(chosen, 0.0, left - column.square())
    return chosen
