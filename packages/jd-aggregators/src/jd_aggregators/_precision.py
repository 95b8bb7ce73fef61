"""In which dtypes weights are computed, and come back."""

import torch
from torch import Tensor

from torchjd.linalg import PSDMatrix


def wide(tensor: Tensor) -> torch.dtype:
    """Return the dtype to compute in where ``tensor`` is: float64 where the device has it."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def widened(gramian: Tensor) -> Tensor:
    """Return ``gramian`` without its graph, in the dtype to compute in."""
    return gramian.detach().to(wide(gramian))


def finished(weights: Tensor, gramian: PSDMatrix) -> Tensor:
    """Return ``weights`` in the dtype of ``gramian`` or float32; NaN if it is not finite."""
    found = weights + (gramian.detach() * 0.0).sum()
    return found.to(torch.promote_types(gramian.dtype, torch.float32))
