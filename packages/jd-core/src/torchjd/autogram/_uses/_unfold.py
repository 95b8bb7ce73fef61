"""What a kernel reads of its signal, as matrices for products."""

from collections.abc import Iterator
from itertools import product
from math import prod

import torch
from torch import Tensor

from ._sweep import Sweep, overlap

# All that the kernel reads is copied in parts of this size.
_PATCHES_BYTES = 1 << 22

_ALL = slice(None)


def as_pointwise(sweep: Sweep, signal: Tensor) -> tuple[Sweep, Tensor]:
    """Return a sweep and a signal that are read alike, by a kernel of one entry if possible.

    It is where nothing is read twice: the entries of the kernel become channels then.

    :param signal: Of shape ``[..., channels, *sizes]``.
    """
    if sweep.overlapping():
        return sweep, signal
    dims = len(sweep.kernel)
    lead = signal.ndim - dims
    for d, (size, positions) in enumerate(zip(sweep.kernel, sweep.positions, strict=True)):
        cropped = signal.narrow(lead + 2 * d, 0, size * positions)
        signal = torch.unflatten(cropped, lead + 2 * d, (positions, size))
    entries = tuple(lead + 2 * d + 1 for d in range(dims))
    signal = signal.movedim(entries, tuple(range(lead, lead + dims)))
    return sweep.pointwise(), signal.flatten(lead - 1, lead - 1 + dims)


class Windows:
    """The windows of a signal: for each row of the kernel, a matrix of what it reads.

    Only the dimensions of the kernel behind the first need copies of the signal: along the first
    one, what another row of the kernel reads is another slice of the same memory. The memory is
    zero where the signal is padded, and stays so when other samples are filled in.

    :param sweep: How the kernel moves.
    :param samples: How many samples are filled in at most.
    :param channels: How many channels they have at most.
    :param like: Of the dtype and on the device of the signal.
    """

    def __init__(self, sweep: Sweep, samples: int, channels: int, like: Tensor) -> None:
        self._sweep, self._limits = sweep, (samples, channels)
        self._memory: Tensor | None = None
        self._like = like

    def fill(self, signal: Tensor) -> list[Tensor]:
        """Return a matrix ``[samples, channels, windows, positions]`` for each row of the kernel.

        They are overwritten by the next call.

        :param signal: Of shape ``[samples, channels, *sizes]``.
        """
        sweep, sizes = self._sweep, signal.shape[2:]
        if sweep.is_view(sizes):
            filled = signal.reshape(*signal.shape[:2], 1, 1, -1)
        else:
            filled = self._copy(signal)
        length, row = prod(sweep.positions), prod(sweep.positions[1:])
        phases = {phase: i for i, phase in enumerate(sweep.phases())}
        return [
            filled[:, :, :, phases[phase], start * row : start * row + length]
            for phase, start in sweep.starts()
        ]

    def _copy(self, signal: Tensor) -> Tensor:
        sweep, (samples, channels), sizes = self._sweep, self._limits, signal.shape[2:]
        if self._memory is None:
            self._memory = self._like.new_zeros(samples, *sweep.shape(channels))
        memory = self._memory[: signal.shape[0], : signal.shape[1]]
        for i, phase in enumerate(sweep.phases()):
            first = overlap(sizes[0], sweep.rows(), phase - sweep.padding[0], sweep.stride[0])
            for entry in product(*map(range, sweep.kernel[1:])):
                to, at = sweep.overlaps(sizes, (0, *entry))
                where: list[slice | int] = [_ALL, _ALL, *entry, i, first[0], *to[1:]]
                memory[tuple(where)] = signal[(_ALL, _ALL, first[1], *at[1:])]
        return memory.view(*signal.shape[:2], prod(sweep.kernel[1:]), len(sweep.phases()), -1)


def patches(sweep: Sweep, signal: Tensor) -> Iterator[Tensor]:
    """Return what the kernel reads of some channels, until these are all.

    That is of shape ``[samples * positions, kernel * channels]``.

    :param signal: Of shape ``[samples, channels, *sizes]``.
    """
    samples, channels, *sizes = signal.shape
    count = samples * prod(sweep.positions)
    # With the channels last, what is copied at a time is one piece of memory.
    signal = signal.movedim(1, -1).contiguous()
    step = max(16, _PATCHES_BYTES // (signal.element_size() * count * prod(sweep.kernel)))
    for start in range(0, channels, step):
        source = signal[..., start : start + step]
        memory = source.new_zeros(samples, *sweep.positions, *sweep.kernel, source.shape[-1])
        by_entry = memory.movedim(
            tuple(range(1, 1 + len(sizes))), tuple(range(-1 - len(sizes), -1))
        )
        for entry in product(*map(range, sweep.kernel)):
            to, at = sweep.overlaps(sizes, entry)
            where: list[slice | int] = [_ALL, *entry, *to]
            by_entry[tuple(where)] = source[(_ALL, *at)]
        yield memory.view(count, -1)
