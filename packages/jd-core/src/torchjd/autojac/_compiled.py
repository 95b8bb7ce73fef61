"""Backward passes through compiled regions, of which the graph must survive the first."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torchjd._autograd._donated import donated

FirstRow = Callable[[], Sequence[Tensor | None]]
"""Differentiates the first row, and keeps the graph."""


def fill_checked(fill: Callable[[], None], first_row: FirstRow, buffers: Sequence[Tensor]) -> None:
    """Write the rows, unless the compiler gave away what later rows need.

    A backward pass that was compiled for a graph that is not kept may overwrite ("donate") what
    the forward pass saved. By default torch then raises; where its check is switched off, the
    first row is differentiated twice, which tells.

    :param fill: Writes the rows, one backward pass each.
    :param first_row: Differentiates the first row with respect to what ``buffers`` are for.
    :param buffers: What ``fill`` writes to.
    :raises RuntimeError: If the compiled backward pass overwrites saved tensors.
    """
    import torch._functorch.config as functorch_config

    several = any(buffer.shape[0] > 1 for buffer in buffers)
    try:
        before = first_row() if several and not functorch_config.donated_buffer else []
        fill()
    except RuntimeError as error:
        if "donated buffers" not in str(error):
            raise
        raise RuntimeError(
            donated("A Jacobian of several rows", "torch refused to keep the graph for more rows")
        ) from error
    for row, buffer in zip(before, buffers, strict=False):
        if row is not None and not _close(row, buffer[0]):
            raise RuntimeError(
                donated(
                    "A Jacobian of several rows",
                    "the same row came out differently the second time",
                )
            )


def _close(one: Tensor, other: Tensor) -> bool:
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    scale = float(one.abs().amax()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
