"""Values of the objectives, for methods that divide by them."""

import torch
from torch import Tensor

from ._on_host import on_host


def nonnegative_losses(losses: Tensor, like: Tensor) -> Tensor:
    """Return ``losses``, of the dtype and on the device of ``like``.

    To raise an error for what is on another device would be to wait for it: there, and in a
    compiled graph, NaN takes the place of what is negative.

    :param losses: A vector of shape ``[m]``.
    :raises ValueError: If an entry is negative, and ``losses`` can be read.
    """
    values = losses.to(like.device, like.dtype)
    if not on_host(losses):
        return torch.where(values < 0, torch.nan, values)
    if bool((values < 0).any()):
        raise ValueError(
            f"`losses` must be at least 0: the method compares them by their ratios. "
            f"Got {losses.tolist()}. Add a constant to a loss that can be negative."
        )
    return values
