"""Gradients that a gradient scaler will find not to be finite."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._finite import is_writable, moved


@torch.no_grad()
def poison(optimizer: Optimizer, overflowed: Tensor) -> bool:
    """Make an element of the gradients of ``optimizer`` NaN where ``overflowed`` is True.

    :param optimizer: Whose gradients.
    :param overflowed: A bool, which is not read on the host.
    :returns: Whether there is a gradient for it.
    """
    for group in optimizer.param_groups:
        for param in group["params"]:
            grad = param.grad
            if grad is not None and grad.numel() > 0 and is_writable(grad):
                element = grad[(0,) * grad.ndim]
                element.copy_(torch.where(moved(overflowed, grad.device), torch.nan, element))
                return True
    return False
