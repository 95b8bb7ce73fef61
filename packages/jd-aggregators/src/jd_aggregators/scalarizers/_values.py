"""What the formulas of scalarizers have in common: precision, shapes, sums."""

import torch
from torch import Tensor


def widened(values: Tensor) -> Tensor:
    """Return ``values`` in at least float32: sums of halves would be rounded, or overflow."""
    return values.float() if values.dtype.itemsize < 4 else values


def doubled(values: Tensor) -> Tensor:
    """Return ``values`` in float64, where the squares of all float32 numbers are finite.

    In float32 on devices that have no float64.
    """
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def matched(entries: Tensor, name: str, values: Tensor) -> Tensor:
    """Return a tensor of settings in the dtype and on the device of ``values``.

    :param name: The user's own name for ``entries``.
    :raises ValueError: If the shapes differ.
    """
    if entries.shape != values.shape:
        raise ValueError(
            f"`values` must have the shape of `{name}`, {list(entries.shape)}. "
            f"Got shape {list(values.shape)}."
        )
    return entries.to(values.device, values.dtype, non_blocking=True)


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Return the sum of the products, of shape ``[]``, of tensors of one shape."""
    return torch.dot(left.flatten(), right.flatten())


def nan_unless_finite(values: Tensor) -> Tensor:
    """Return 0, of shape ``[]``, or NaN if an entry is NaN or infinite below.

    Added to a maximum, which would hide that one of the values is minus infinity.
    """
    least = values.detach().amin()
    return least - least


def readable(number: Tensor) -> bool:
    """Return whether to look at a number is free: on the CPU, unless the call is being traced.

    There it takes less time than to compute with a mask.
    """
    return number.is_cpu and not torch.compiler.is_compiling()
