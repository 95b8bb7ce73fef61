"""Preference vectors: how much each objective counts."""

import torch
from torch import Tensor


def check_preference(pref_vector: Tensor | None, name: str) -> Tensor | None:
    """Return ``pref_vector`` if it is None or a vector of weights that are finite and at least 0.

    :param pref_vector: What the user passed.
    :param name: The user's own name for it.
    :raises TypeError: If it is no floating-point tensor.
    :raises ValueError: If it is no vector, or an entry is negative or not finite.
    """
    if pref_vector is None:
        return None
    if not isinstance(pref_vector, Tensor) or not pref_vector.is_floating_point():
        found = pref_vector.dtype if isinstance(pref_vector, Tensor) else type(pref_vector).__name__
        raise TypeError(f"`{name}` must be a floating-point tensor or None. Got {found}.")
    if pref_vector.ndim != 1 or pref_vector.numel() == 0:
        raise ValueError(
            f"`{name}` must have one entry per objective, in one dimension. "
            f"Got shape {list(pref_vector.shape)}."
        )
    if not bool((torch.isfinite(pref_vector) & (pref_vector >= 0)).all()):
        raise ValueError(
            f"`{name}` must have entries that are finite and at least 0. "
            f"Got {pref_vector.tolist()}."
        )
    return pref_vector.detach().clone()


def preference(pref_vector: Tensor | None, gramian: Tensor) -> Tensor:
    """Return the preference as a vector of the dtype and on the device of ``gramian``.

    :param pref_vector: A vector of as many entries as ``gramian`` has rows; None for the mean.
    :raises ValueError: If the number of entries does not fit.
    """
    m = gramian.shape[0]
    if pref_vector is None:
        return torch.full((m,), 1.0 / m, dtype=gramian.dtype, device=gramian.device)
    if pref_vector.shape[0] != m:
        raise ValueError(
            f"`pref_vector` must have one entry per row, {m}. Got {pref_vector.shape[0]}."
        )
    return pref_vector.to(gramian)
