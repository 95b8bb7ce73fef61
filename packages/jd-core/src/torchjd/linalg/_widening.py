"""Chunks of a block of the Jacobian, in the dtype that products are accumulated in."""

from collections.abc import Iterator

import torch
from torch import Tensor

# Elements converted at a time. On the CPU a chunk of 2 MiB of float64 stays in the cache, which is
# 3 to 5 times faster than converting a whole block; a GPU wants few and large kernels.
_CHUNK = {"cpu": 1 << 18}
_CHUNK_ELSEWHERE = 1 << 24


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype that products are accumulated in: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def chunk_size(device: torch.device) -> int:
    """Return how many elements are converted at a time."""
    return _CHUNK.get(device.type, _CHUNK_ELSEWHERE)


class Widener:
    """Converts chunk after chunk in the same memory, which is then in the cache, and mapped.

    A chunk is to be used before the next is asked for, and not to be differentiated.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def chunks(self, block: Tensor) -> Iterator[Tensor]:
        """Yield the columns of ``block``, of shape ``[m, n]``, some at a time."""
        dtype = wide_dtype(block.device)
        columns = max(1, chunk_size(block.device) // block.shape[0])
        for start in range(0, block.shape[1], columns):
            part = block[:, start : start + columns]
            yield part if part.dtype is dtype else self._room(part, dtype).copy_(part)

    def _room(self, part: Tensor, dtype: torch.dtype) -> Tensor:
        """Return memory for ``part`` in ``dtype``."""
        memory, size = self._memory, part.numel()
        if memory is None or memory.numel() < size or memory.device != part.device:
            memory = self._memory = torch.empty(size, dtype=dtype, device=part.device)
        return memory[:size].view(part.shape)
