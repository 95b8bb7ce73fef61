"""A Jacobian held as one block per parameter: its Gramian and combinations of its rows."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ._types import Matrix, PSDMatrix

# Elements converted at a time. On the CPU a chunk of 2 MiB of float64 stays in the cache, which is
# 3 to 5 times faster than converting a whole block; a GPU wants few and large kernels.
_CHUNK = {"cpu": 1 << 18}
_CHUNK_ELSEWHERE = 1 << 24


class JacobianBlocks:
    r"""The Jacobian :math:`J = [J_1 \dots J_p]`, of which only the blocks exist in memory.

    Products are accumulated in float64 (float32 on devices without it), so that a Gramian of
    float32 rows is as exact as its dtype says, and neither under- nor overflows.

    :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``, of real floating dtypes.
    """

    def __init__(self, blocks: Sequence[Tensor]) -> None:
        self.blocks = blocks

    @property
    def m(self) -> int:
        """The number of rows."""
        return self.blocks[0].shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the matrix that holds all the blocks."""
        dtype = self.blocks[0].dtype
        for block in self.blocks[1:]:
            dtype = torch.promote_types(dtype, block.dtype)
        return dtype

    def matrix(self) -> Matrix:
        """Return the whole Jacobian, of shape ``[m, n]``.

        :raises ValueError: If the blocks are on several devices.
        """
        devices = {block.device for block in self.blocks}
        if len(devices) > 1:
            raise ValueError(
                "An aggregator that reads the whole Jacobian needs `tensors` on one device. Got "
                f"{sorted(map(str, devices))}. Use an aggregator that works from the Gramian, "
                "such as UPGrad, or one call per device."
            )
        return Matrix(self.blocks[0] if len(self.blocks) == 1 else torch.cat(list(self.blocks), 1))

    @torch.no_grad()
    def gramian(self) -> PSDMatrix:
        r"""Return :math:`J J^\top / s^2`, with :math:`s > 0` of the magnitude of :math:`J`.

        Weights do not depend on :math:`s`, which keeps the squares within range; it is a power of
        two, so that dividing by it is exact.

        :returns: A tensor of shape ``[m, m]`` on the device of the first block, of dtype float64
            (float32 on devices without float64).
        """
        device = self.blocks[0].device
        scale = self._scale()
        gramian = torch.zeros(self.m, self.m, dtype=_wide(device), device=device)
        for block in self.blocks:
            for chunk in _chunks(block):
                rows = chunk if scale is None else chunk / scale.to(chunk.device)
                gramian += (rows @ rows.T).to(device)
        return PSDMatrix(Matrix(gramian))

    def combine(self, weights: Tensor) -> list[Tensor]:
        r"""Return :math:`w^\top J`, block by block.

        :param weights: A tensor of shape ``[m]``.
        :returns: Tensors of shape ``[n_1], ..., [n_p]``, each of its block's dtype and device, in
            storage of its own.
        """
        return [_combine_block(weights, block) for block in self.blocks]

    def _scale(self) -> Tensor | None:
        """Return a power of two near the largest entry; None where squares are within range."""
        if all(torch.finfo(b.dtype).bits < torch.finfo(_wide(b.device)).bits for b in self.blocks):
            return None
        device = self.blocks[0].device
        largest = [
            torch.linalg.vector_norm(b, ord=torch.inf).to(device, _wide(device))
            for b in self.blocks
            if b.numel() > 0
        ]
        if not largest:
            return None
        top = torch.stack(largest).amax()
        exponent = torch.frexp(top).exponent - 1
        usable = torch.isfinite(top) & (top > 0)
        return torch.where(usable, torch.ldexp(torch.ones_like(top), exponent), 1.0)


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _chunks(block: Tensor) -> Iterator[Tensor]:
    columns = max(1, _CHUNK.get(block.device.type, _CHUNK_ELSEWHERE) // block.shape[0])
    for start in range(0, block.shape[1], columns):
        yield block[:, start : start + columns].to(_wide(block.device))


def _combine_block(weights: Tensor, block: Tensor) -> Tensor:
    wide = weights.to(block.device, _wide(block.device))
    parts = [(wide @ chunk).to(block.dtype) for chunk in _chunks(block)]
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if parts else block.new_zeros(0)
