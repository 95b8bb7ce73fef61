"""How the kernel of a convolution moves over its signal."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sweep:
    """How a kernel moves over a signal: one number a dimension of space, in each of its fields.

    Entry ``i`` of the kernel reads entry ``position * stride + i * dilation - padding`` of the
    signal, or zero where there is none.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    positions: tuple[int, ...]

    def flat(self) -> "Sweep":
        """Return the same sweep, with a first dimension of space of size one."""
        return Sweep(
            (1, *self.kernel),
            (1, *self.stride),
            (0, *self.padding),
            (1, *self.dilation),
            (1, *self.positions),
        )

    def pointwise(self) -> "Sweep":
        """Return the sweep of a kernel of one entry over the same positions."""
        one = (1,) * len(self.kernel)
        return Sweep(one, one, (0,) * len(self.kernel), one, self.positions)

    def overlapping(self) -> bool:
        """Whether something may be read twice, or is left out between what is read."""
        apart = self.kernel == self.stride and all(step == 1 for step in self.dilation)
        return not apart or any(self.padding)

    def starts(self) -> list[tuple[int, int]]:
        """Return the phase and the first row of what each row of the kernel reads.

        Every ``stride``-th row of the padded signal is of one phase.
        """
        offsets = [i * self.dilation[0] for i in range(self.kernel[0])]
        return [(offset % self.stride[0], offset // self.stride[0]) for offset in offsets]

    def phases(self) -> list[int]:
        """Return the phases that some row of the kernel reads, in order."""
        return sorted({phase for phase, _ in self.starts()})

    def rows(self) -> int:
        """Return how many rows of a phase are read."""
        return self.positions[0] + max(row for _, row in self.starts())

    def shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of the windows of one sample, see :class:`Windows`."""
        inner = self.positions[1:]
        return channels, *self.kernel[1:], len(self.phases()), self.rows(), *inner

    def overlaps(
        self, sizes: Sequence[int], entry: Sequence[int]
    ) -> tuple[list[slice], list[slice]]:
        """Return the positions at which an entry of the kernel reads the signal, and what it reads.

        :param sizes: Those of the signal.
        :param entry: The indices of the entry.
        """
        pairs = [
            overlap(size, positions, i * dilation - padding, stride)
            for size, positions, i, dilation, padding, stride in zip(
                sizes, self.positions, entry, self.dilation, self.padding, self.stride, strict=True
            )
        ]
        return [to for to, _ in pairs], [at for _, at in pairs]

    def is_view(self, sizes: Sequence[int]) -> bool:
        """Whether the windows are nothing but the signal."""
        only_first = all(size == 1 for size in self.kernel[1:])
        steps = all(step == 1 for step in self.stride)
        whole = tuple(sizes) == (self.rows(), *self.positions[1:])
        return only_first and steps and whole and not any(self.padding)


def overlap(size: int, positions: int, offset: int, stride: int) -> tuple[slice, slice]:
    """Return the positions at which ``position * stride + offset`` is in range, and that range."""
    first = max(0, -(offset // stride))
    last = min(positions - 1, (size - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, last + 1), slice(start, last * stride + offset + 1, stride)
