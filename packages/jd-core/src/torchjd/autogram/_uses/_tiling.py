"""How the gradients of a convolution's weight are cut into tiles."""

from dataclasses import dataclass

# A tile of the rows and the windows it is computed from are small enough to stay in the cache.
_TILE_BYTES = 3 << 19
_WINDOWS_BYTES = 1 << 21

# Products of matrices that are narrower are slow: the columns of a product, its rows, and the
# entries of a tile that each loss has.
LEAST_COLUMNS = 48
_LEAST_RESPONSES = 32
_LEAST_ENTRIES = 1 << 12

# Other numbers of columns take up to one half more time for each.
_ALIGNMENT = 8


@dataclass(frozen=True)
class Tiling:
    """The most that is computed at a time.

    :ivar samples: The samples of which windows are made.
    :ivar images: The images of which windows are made, in each sample.
    :ivar at_once: Whether these are all, and the tile is of one row of the kernel; otherwise it
        is of all of them.
    :ivar groups: The groups of channels.
    :ivar responses: The channels of the response, in each group.
    :ivar channels: The channels of the signal, in each group.
    """

    samples: int
    images: int
    at_once: bool
    groups: int
    responses: int
    channels: int


@dataclass(frozen=True)
class Extent:
    """What is to be cut.

    :ivar samples: The number of samples.
    :ivar images: The number of images, in each sample.
    :ivar groups: The number of groups of channels.
    :ivar responses: The channels of the response, in each group.
    :ivar channels: The channels of the signal, in each group.
    :ivar kernel_rows: The size of the kernel along its first dimension.
    :ivar windows: The size of the kernel along all others.
    :ivar window_bytes: What the windows of a channel take, for each image.
    :ivar row_bytes: What one entry of all rows takes.
    """

    samples: int
    images: int
    groups: int
    responses: int
    channels: int
    kernel_rows: int
    windows: int
    window_bytes: int
    row_bytes: int

    def whole(self) -> Tiling:
        """Return one tile, for which the windows of some samples are made at a time."""
        return self._by_samples(self.groups, self.responses, self.channels)

    def tiled(self) -> Tiling:
        """Return tiles that stay in the cache."""
        entries = max(_LEAST_ENTRIES, _TILE_BYTES // self.row_bytes) // self.windows
        least = min(self.channels, -(-LEAST_COLUMNS // self.windows))
        most = _WINDOWS_BYTES // (self.samples * self.images * self.window_bytes)
        at_once = most >= least
        if not at_once:
            # The windows of all samples take too much room even for so few channels. A tile is
            # larger then, since it is of all rows of the kernel, and leaves the cache.
            entries, most = max(1, 3 * entries // self.kernel_rows), self.groups * self.channels
        channels = _aligned(self.channels, min(most, max(least, entries // self.responses)))
        responses = _aligned(self.responses, max(_LEAST_RESPONSES, entries // channels))
        groups = 1
        if (channels, responses) == (self.channels, self.responses):
            groups = _even(self.groups, min(most, entries // responses) // channels)
        if at_once:
            return Tiling(self.samples, self.images, True, groups, responses, channels)
        return self._by_samples(groups, responses, channels)

    def _by_samples(self, groups: int, responses: int, channels: int) -> Tiling:
        images = _WINDOWS_BYTES // (2 * self.window_bytes * groups * channels)
        samples = _even(self.samples, images // self.images)
        images = _even(self.images, images)
        return Tiling(samples, images, False, groups, responses, channels)


def _even(size: int, step: int) -> int:
    """Return the smallest step that makes no more parts of ``size`` than ``step`` does."""
    parts = -(-size // max(1, step))
    return -(-size // parts)


def _aligned(size: int, step: int) -> int:
    """Return such a step, rounded up to what products of matrices are fast with."""
    return min(size, -(-_even(size, step) // _ALIGNMENT) * _ALIGNMENT)
