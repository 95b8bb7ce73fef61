"""Sums of products in their own precision, whatever surrounds the call."""

from contextlib import AbstractContextManager, nullcontext

import torch

_NOTHING = nullcontext()


def own_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return a context without autocast, which would round the rows to half precision.

    :param device: Where the operands are.
    """
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return _NOTHING
    return torch.autocast(device.type, enabled=False)
