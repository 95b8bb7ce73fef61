"""A Jacobian held as one block per parameter: its Gramian and combinations of its rows."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from ._types import Matrix, PSDMatrix

# Elements converted at a time. On the CPU a chunk of 2 MiB of float64 stays in the cache, which is
# 3 to 5 times faster than converting a whole block; a GPU wants few and large kernels.
_CHUNK = {"cpu": 1 << 18}
_CHUNK_ELSEWHERE = 1 << 24
# Up to which power of two the largest entry may be squared as it is.
_IN_RANGE = {torch.float64: 350, torch.float32: 30}


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
        whole = self.blocks[0] if len(self.blocks) == 1 else torch.cat(list(self.blocks), 1)
        return cast("Matrix", whole)

    @torch.no_grad()
    def gramian(self) -> PSDMatrix:
        r"""Return :math:`J J^\top / s^2`, with :math:`s = 1` wherever squares are within range.

        Elsewhere it is a power of two of the magnitude of :math:`J`, so that dividing by it is
        exact; weights do not depend on it.

        :returns: A tensor of shape ``[m, m]`` on the device of the first block, of dtype float64
            (float32 on devices without float64).
        """
        device = self.blocks[0].device
        scale = self._scale()
        gramian = torch.zeros(self.m, self.m, dtype=_wide(device), device=device)
        for group in self._groups():
            for chunk in _chunks(_joined(group)):
                rows = chunk if scale is None else chunk / scale.to(chunk.device)
                gramian += (rows @ rows.T).to(device)
        return cast("PSDMatrix", gramian)

    def combine(self, weights: Tensor) -> list[Tensor]:
        r"""Return :math:`w^\top J`, block by block.

        :param weights: A tensor of shape ``[m]``.
        :returns: Tensors of shape ``[n_1], ..., [n_p]``, each of its block's dtype and device, in
            storage of its own.
        """
        return [part for group in self._groups() for part in _combine(weights, group)]

    def _groups(self) -> Iterator[list[Tensor]]:
        """Yield neighbours that fit into one chunk together: many small blocks cost as one."""
        group: list[Tensor] = []
        free = 0
        for block in self.blocks:
            if group and (block.numel() > free or block.device != group[0].device):
                yield group
                group = []
            free = (free if group else _chunk_size(block.device)) - block.numel()
            group.append(block)
        yield group

    def _scale(self) -> Tensor | None:
        """Return 1, or a power of two near the largest entry; None where 1 is sure to do."""
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
        # That leaves room for the sum of many squares, and in float64 for rows 1e40 times shorter.
        within = exponent.abs() <= _IN_RANGE[top.dtype]
        usable = torch.isfinite(top) & (top > 0) & ~within
        return torch.where(usable, torch.ldexp(torch.ones_like(top), exponent), 1.0)


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _chunk_size(device: torch.device) -> int:
    return _CHUNK.get(device.type, _CHUNK_ELSEWHERE)


def _joined(group: list[Tensor]) -> Tensor:
    return group[0] if len(group) == 1 else torch.cat(group, dim=1)


def _chunks(block: Tensor) -> Iterator[Tensor]:
    columns = max(1, _chunk_size(block.device) // block.shape[0])
    for start in range(0, block.shape[1], columns):
        yield block[:, start : start + columns].to(_wide(block.device))


def _combine(weights: Tensor, group: list[Tensor]) -> list[Tensor]:
    block = _joined(group)
    wide = weights.to(block.device, _wide(block.device))
    vector = block.new_empty(block.shape[1])
    end = 0
    for chunk in _chunks(block):
        start, end = end, end + chunk.shape[1]
        vector[start:end] = wide @ chunk
    if len(group) == 1:
        return [vector]
    split = torch.split(vector, [block.shape[1] for block in group])
    return [part.to(block.dtype, copy=True) for part, block in zip(split, group, strict=True)]
