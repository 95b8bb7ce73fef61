"""Where values may be looked at, and by what they are computed fastest there."""

from functools import cache
from types import ModuleType

import torch
from torch import Tensor


def on_host(tensor: Tensor) -> bool:
    """Return whether reading ``tensor`` waits for no device and breaks no compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


@cache
def numpy_module() -> ModuleType | None:
    """Return numpy, whose calls on small arrays cost a fifth of those of torch, if there is one."""
    try:
        import numpy as np
    except ImportError:
        return None
    return np
