"""Functions that `torch.compile` leaves alone."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

_F = TypeVar("_F", bound=Callable[..., Any])


def uncompiled(function: _F) -> _F:
    """Return ``function``, to be run as it is where a compiled function calls it."""
    disable: Any = torch.compiler.disable  # it loses the signature, for type checkers
    disabled: _F = disable(function)
    return disabled
