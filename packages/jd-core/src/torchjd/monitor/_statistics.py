"""What a Gramian says about the objectives; of one step, or of many at once.

Everything takes leading dimensions: ``[..., m, m]``. Nothing reads a value on the host.
"""

import torch
from torch import Tensor


def norms(gramian: Tensor) -> Tensor:
    """Return the lengths of the rows, of shape ``[..., m]``."""
    return gramian.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt()


def cosines(gramian: Tensor) -> Tensor:
    """Return the cosines of the rows, of shape ``[..., m, m]``; of a zero row, 0."""
    lengths = norms(gramian)
    # One factor at a time: their product may leave the range of the dtype.
    inverse = torch.where(lengths == 0, 0.0, lengths.reciprocal())
    return (gramian * inverse[..., :, None] * inverse[..., None, :]).clamp(-1.0, 1.0)


def conflict_rate(gramian: Tensor) -> Tensor:
    """Return the share of the pairs of rows with a negative inner product, of shape ``[...]``.

    It is 0 for one row, and NaN where an inner product of a pair is not finite.
    """
    m = gramian.shape[-1]
    if m == 1:
        return gramian.new_zeros(gramian.shape[:-2])
    below = torch.ones(m, m, dtype=torch.bool, device=gramian.device).tril(-1)
    pairs = gramian[..., below]
    return torch.where(pairs.isfinite(), (pairs < 0).to(pairs), torch.nan).mean(dim=-1)


def progress(gramian: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """Return the inner products of the rows with their weighted sum, of shape ``[..., m]``.

    :param gramian: The Gramian over ``scale`` squared.
    :param scale: Of shape ``[...]``.
    :param weights: Of shape ``[..., m]``.
    """
    products = (gramian @ weights.to(gramian)[..., None])[..., 0]
    return products * scale[..., None] * scale[..., None]
