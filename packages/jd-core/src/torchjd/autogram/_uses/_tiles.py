"""The gradients of a convolution's weight, a tile of its channels at a time."""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ._kernel_rows import KernelRows, add_products
from ._sweep import Sweep
from ._tiling import LEAST_COLUMNS, Extent, Tiling
from ._unfold import Windows, as_pointwise


class Tile(NamedTuple):
    """Some groups of channels, and in each of them some of the response and of the signal."""

    groups: slice
    responses: slice
    channels: slice


class Tiles:
    """The rows of a convolution's weight, still to be computed.

    :param signal: Of shape ``[tasks or 1, batch, images, channels, *sizes]``.
    :param response: Of shape ``[tasks or 1, batch, images, channels, *positions]``.
    :param shape: The shape of the weight.
    :param sweep: How the kernel moves over the signal.
    :param groups: The number of groups of channels.
    """

    def __init__(
        self, signal: Tensor, response: Tensor, shape: torch.Size, sweep: Sweep, groups: int
    ) -> None:
        sweep, signal = as_pointwise(sweep, signal)
        channels = signal.shape[3] // groups
        if channels * prod(sweep.kernel[1:]) < LEAST_COLUMNS:
            # With so few columns, all entries of the kernel are columns of one product.
            signal, sweep = signal.unsqueeze(4), sweep.flat()
        columns = channels * prod(sweep.kernel[1:])
        # A product of matrices is faster with the shorter side first, where it is this short.
        self._transposed = columns < min(LEAST_COLUMNS, shape[0] // groups)
        self._signal = torch.unflatten(signal, 3, (groups, -1))
        self._response = torch.unflatten(response.flatten(4), 3, (groups, -1))
        self._shape, self._sweep = shape, sweep
        self._tasks = max(signal.shape[0], response.shape[0])
        self._batch = signal.shape[1]
        size = signal.element_size()
        self._extent = Extent(
            samples=self._batch,
            images=signal.shape[2],
            groups=groups,
            responses=shape[0] // groups,
            channels=channels,
            kernel_rows=sweep.kernel[0],
            windows=prod(sweep.kernel[1:]),
            window_bytes=size * signal.shape[0] * prod(sweep.shape(1)),
            row_bytes=size * self._tasks * self._batch,
        )

    def whole(self) -> KernelRows:
        """Return all rows."""
        tiling = self._extent.whole()
        (tile,) = self._cut(tiling)
        rows = self._signal.new_empty(self._sweep.kernel[0], *self._shape_of(tile))
        self._by_samples(tile, self._windows(tiling), rows, tiling)
        return KernelRows(rows, self._shape, self._transposed)

    def add_gramian(self, gramian: Tensor) -> None:
        """Add the products of all rows to ``gramian``, and keep nothing."""
        for rows in self._each():
            add_products(gramian, rows)

    def _each(self) -> Iterator[Tensor]:
        """Return tiles ``[tasks, batch, ...]`` of the rows, each overwritten by the next."""
        tiling = self._extent.tiled()
        windows = self._windows(tiling)
        kernel_rows = 1 if tiling.at_once else self._extent.kernel_rows
        memory = self._signal.new_empty(0)
        for tile in self._cut(tiling):
            shape = (kernel_rows, *self._shape_of(tile))
            if prod(shape) > memory.numel():
                memory = self._signal.new_empty(prod(shape))  # the first tile is the largest
            rows = memory[: prod(shape)].view(shape)
            if tiling.at_once:
                if tile.responses.start == 0:
                    read = self._read(windows, tile, slice(None), slice(None))
                response = self._response[:, :, :, tile.groups, tile.responses]
                for matrix in read:
                    self._multiply(response, matrix, rows[0], add=False)
                    yield rows[0]
            else:
                self._by_samples(tile, windows, rows, tiling)
                yield from rows

    def _by_samples(self, tile: Tile, windows: Windows, rows: Tensor, tiling: Tiling) -> None:
        """Compute all rows of the kernel, with the windows of a few samples at a time."""
        for samples in _cuts(self._batch, tiling.samples):
            for images in _cuts(self._signal.shape[2], tiling.images):
                response = self._response[:, samples, images, tile.groups, tile.responses]
                read = self._read(windows, tile, samples, images)
                for matrix, out in zip(read, rows, strict=True):
                    self._multiply(response, matrix, out[:, samples], add=images.start > 0)

    def _read(self, windows: Windows, tile: Tile, samples: slice, images: slice) -> list[Tensor]:
        """Return what each row of the kernel reads, ``[tasks or 1, batch, images, ...]``."""
        signal = self._signal[:, samples, images, tile.groups, tile.channels]
        filled = windows.fill(signal.flatten(3, 4).flatten(0, 2))
        return [torch.unflatten(matrix, 0, signal.shape[:3]) for matrix in filled]

    def _multiply(self, response: Tensor, windows: Tensor, out: Tensor, add: bool) -> None:
        """Sum outer products over the positions of all images, in each sample and group.

        :param response: ``[tasks or 1, batch, images, groups, responses, positions]``.
        :param windows: ``[tasks or 1, batch, images, groups * channels, windows, positions]``.
        :param out: ``[tasks, batch, groups, responses, channels * windows]``, with the last two
            exchanged where they are held transposed.
        :param add: Whether to add to ``out``, rather than to overwrite it.
        """
        tasks, samples, groups = out.shape[:3]
        images, positions = response.shape[2], response.shape[-1]
        for task, image in product(range(tasks), range(images)):
            left = response[min(task, len(response) - 1), :, image]
            left = left.reshape(samples * groups, -1, positions)
            right = windows[min(task, len(windows) - 1), :, image]
            right = right.reshape(samples * groups, -1, positions)
            if self._transposed:
                left, right = right, left
            target = out[task].flatten(0, 1)
            if image == 0 and not add:
                torch.bmm(left, right.mT, out=target)
            else:
                target.baddbmm_(left, right.mT)

    def _windows(self, tiling: Tiling) -> Windows:
        images = self._signal.shape[0] * tiling.samples * tiling.images
        return Windows(self._sweep, images, tiling.groups * tiling.channels, self._signal)

    def _shape_of(self, tile: Tile) -> tuple[int, ...]:
        groups, responses, channels = (part.stop - part.start for part in tile)
        sides = (responses, channels * self._extent.windows)
        return self._tasks, self._batch, groups, *(sides[::-1] if self._transposed else sides)

    def _cut(self, tiling: Tiling) -> Iterator[Tile]:
        extent = self._extent
        for groups in _cuts(extent.groups, tiling.groups):
            for channels in _cuts(extent.channels, tiling.channels):
                for responses in _cuts(extent.responses, tiling.responses):
                    yield Tile(groups, responses, channels)


def _cuts(size: int, step: int) -> list[slice]:
    """Return slices of at most ``step``, that together are all of ``size``."""
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]
