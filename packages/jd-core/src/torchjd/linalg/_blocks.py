"""A Jacobian held as one block per parameter: its Gramian and combinations of its rows."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from ._types import Matrix, PSDMatrix
from ._widening import Widener, chunk_size, wide_dtype

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
    def gramian(self, scale: Tensor | None = None) -> PSDMatrix:
        r"""Return :math:`J J^\top / s^2`.

        :param scale: s, or None for 1.
        :returns: A tensor of shape ``[m, m]`` on the device of the first block, of dtype float64
            (float32 on devices without float64).
        """
        device = self.blocks[0].device
        if scale is None and self.is_small():
            rows = self.blocks[0].detach().to(wide_dtype(device))
            return cast("PSDMatrix", rows @ rows.T)
        gramian = torch.zeros(self.m, self.m, dtype=wide_dtype(device), device=device)
        widener = Widener()
        for group in self._groups():
            for chunk in widener.chunks(_joined(group).detach()):
                rows = chunk if scale is None else chunk / scale.to(chunk.device)
                if rows.device == device:
                    _add_lower_part(gramian, rows)
                else:
                    gramian += (rows @ rows.T).to(device)
        return cast("PSDMatrix", gramian.tril() + gramian.tril(-1).T)

    @torch.no_grad()
    def scale(self) -> Tensor | None:
        """Return 1 where squares are within range, else a power of two near the largest entry.

        Dividing by it is exact. None where it is sure to be 1.
        """
        if all(b.dtype.itemsize < wide_dtype(b.device).itemsize for b in self.blocks):
            return None
        device = self.blocks[0].device
        largest = [
            # Seven times as fast as the norm whose order is infinity; NaN stays NaN.
            torch.stack(torch.aminmax(b)).abs().amax().to(device, wide_dtype(device))
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

    def combine(self, weights: Tensor, *, exactly: bool = True) -> list[Tensor]:
        r"""Return :math:`w^\top J`, block by block.

        :param weights: A tensor of shape ``[m]``.
        :param exactly: Whether the sums are formed in float64, as where large terms may cancel;
            else in the dtype of the blocks, and at least float32.
        :returns: Tensors of shape ``[n_1], ..., [n_p]``, each of its block's dtype and device, in
            storage of its own.
        """
        block = self.blocks[0]
        narrow = not exactly and block.dtype.itemsize >= 4
        if len(self.blocks) == 1 and (narrow or self.is_small()):
            dtype = block.dtype if narrow else wide_dtype(block.device)
            if block.dtype is dtype:
                return [weights.to(block.device, dtype) @ block]
            return [(weights.to(block.device, dtype) @ block.to(dtype)).to(block.dtype)]
        return [part for group in self._groups() for part in _combine(weights, group, exactly)]

    def is_small(self) -> bool:
        """Return whether the Jacobian is one block, which fits into one chunk."""
        block = self.blocks[0]
        return len(self.blocks) == 1 and block.numel() <= chunk_size(block.device)

    def _groups(self) -> Iterator[list[Tensor]]:
        """Yield neighbours that fit into one chunk together: many small blocks cost as one."""
        group: list[Tensor] = []
        free = 0
        for block in self.blocks:
            if group and (block.numel() > free or block.device != group[0].device):
                yield group
                group = []
            free = (free if group else chunk_size(block.device)) - block.numel()
            group.append(block)
        yield group


def _add_lower_part(gramian: Tensor, rows: Tensor) -> None:
    """Add the products of rows with those before them, and a few more, to ``gramian``.

    Of the whole that is 3/4 in two parts and 5/8 in four, which saves as much time on a CPU, where
    the arithmetic counts. On a GPU it is the number of kernels that counts.
    """
    m = len(gramian)
    parts = min(4, max(1, m // 4)) if gramian.device.type == "cpu" else 1
    cuts = [m * part // parts for part in range(parts + 1)]
    for start, end in pairwise(cuts):
        gramian[start:end, :end].addmm_(rows[start:end], rows[:end].T)


def _joined(group: list[Tensor]) -> Tensor:
    return group[0] if len(group) == 1 else torch.cat(group, dim=1)


def _combine(weights: Tensor, group: list[Tensor], exactly: bool) -> list[Tensor]:
    block = _joined(group)
    if exactly or block.dtype.itemsize < 4:
        vector = _combine_exactly(weights, block)
    else:
        vector = weights.to(block.device, block.dtype) @ block
    if len(group) == 1:
        return [vector]
    split = torch.split(vector, [block.shape[1] for block in group])
    return [part.to(block.dtype, copy=True) for part, block in zip(split, group, strict=True)]


def _combine_exactly(weights: Tensor, block: Tensor) -> Tensor:
    wide = weights.to(block.device, wide_dtype(block.device))
    if block.requires_grad:
        return (wide @ block.to(wide.dtype)).to(block.dtype)
    vector = block.new_empty(block.shape[1])
    end = 0
    for chunk in Widener().chunks(block):
        start, end = end, end + chunk.shape[1]
        vector[start:end] = wide @ chunk
    return vector
