"""A use by a convolution: the gradients are sums of products of what positions of it read."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ._cost import cost
from ._square import square
from ._sweep import Sweep
from ._tiles import Tiles
from ._unfold import as_pointwise, patches
from ._use import Use

# The products of all pairs of positions take at most this much room, or little beside what the
# convolution itself holds.
_PAIRS_BYTES = 1 << 23


@dataclass(frozen=True)
class Convolution:
    """The settings of a convolution: one number a dimension of space, in each of the tuples."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int

    def weight_gradient(self, inputs: Tensor, cotangents: Tensor, shape: torch.Size) -> Tensor:
        """Return the gradient with respect to the weight, of ``shape``, summed over samples."""
        gradient: Tensor = torch.ops.aten.convolution_backward(
            cotangents,
            inputs,
            inputs.new_empty(1).expand(shape),  # only its shape is read
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
            [False, True, False],
        )[1]
        return gradient


class Patches(Use):
    r"""Gradients of a convolution's weight.

    The kernel moves over the *signal* and each of its positions has a *response*: input and
    cotangent, or cotangent and input where the convolution is transposed. With :math:`S_{bt}` what
    the kernel reads of the signal at position :math:`t` and :math:`R_{bt}` the response there, the
    gradients are :math:`J_b = \sum_t R_{bt} S_{bt}^\top`, in each group of channels.

    :param inputs: Of shape ``[batch, images, channels, *sizes]``.
    :param cotangents: Of shape ``[tasks, batch, images, channels, *positions]``.
    :param shape: The shape of the weight.
    :param convolution: How it was convolved.
    """

    def __init__(
        self, inputs: Tensor, cotangents: Tensor, shape: torch.Size, convolution: Convolution
    ) -> None:
        self.tasks, self.batch = cotangents.shape[:2]
        self.shape = shape
        self._inputs, self._cotangents, self._convolution = inputs, cotangents, convolution
        pair = (inputs.unsqueeze(0), cotangents)
        self._signal, self._response = pair[::-1] if convolution.transposed else pair
        self._sweep = Sweep(
            tuple(shape[2:]),
            convolution.stride,
            convolution.padding,
            convolution.dilation,
            tuple(self._response.shape[4:]),
        )

    def tensors(self) -> list[Tensor]:
        return [self._inputs, self._cotangents]

    def merge(self, other: Use, /) -> Use | None:
        if not isinstance(other, Patches) or other._convolution != self._convolution:
            return None
        if other._inputs.shape[2:] != self._inputs.shape[2:]:
            return None
        # Each use is like another image of the same sample.
        inputs = torch.cat([self._inputs, other._inputs], dim=1)
        cotangents = torch.cat([self._cotangents, other._cotangents], dim=2)
        return Patches(inputs, cotangents, self.shape, self._convolution)

    def rows(self) -> Tensor:
        return self._tiles().whole().rows()

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        if self._prefers_ghost():
            self._add_ghost(gramian)
            return self if self.nbytes() <= keep else None
        size = self._inputs.element_size() * self.m * self.shape.numel()
        if size <= min(keep, self.nbytes()):
            # The rows take less room than what they are made of, and are cheaper to weigh.
            return self._tiles().whole().add_gramian(gramian, keep)
        self._tiles().add_gramian(gramian)
        return self if self.nbytes() <= keep else None

    def weighted(self, weights: Tensor) -> Tensor:
        by_sample = weights.reshape(*weights.shape, *[1] * (self._cotangents.ndim - 2))
        combined = self._cotangents[0] * by_sample[0]
        for cotangents, scales in zip(self._cotangents[1:], by_sample[1:], strict=True):
            combined.addcmul_(cotangents, scales)
        return self._convolution.weight_gradient(
            self._inputs.flatten(0, 1), combined.flatten(0, 1), self.shape
        )

    def _positions(self) -> int:
        return prod(self._sweep.positions)

    def _tiles(self) -> Tiles:
        return Tiles(
            self._signal, self._response, self.shape, self._sweep, self._convolution.groups
        )

    def _prefers_ghost(self) -> bool:
        if self._convolution.groups > 1:
            return False
        tokens = self.batch * self._inputs.shape[1] * self._positions()
        size, n = self._inputs.element_size(), self.shape.numel()
        signals = (self._signal.shape[0] * tokens) ** 2
        responses = (self._response.shape[0] * tokens) ** 2
        pairs = signals + responses
        if size * pairs > max(_PAIRS_BYTES, 2 * self.nbytes()):
            return False
        wide, narrow = n // self.shape[0], self.shape[0]
        # The products are symmetric, and not much more than one half of them is computed.
        ghost = cost(2 / 3 * (signals * wide + responses * narrow), size * pairs)
        # The rows do not leave the cache: one byte of them costs a fraction of one of memory.
        rows = cost(self.tasks * tokens * n + self.m**2 * n, size * self.m * n / 2)
        return ghost < rows

    def _add_ghost(self, gramian: Tensor) -> None:
        response = _channels_last(self._response.flatten(0, 2))
        signals = None
        for matrix in patches(*as_pointwise(self._sweep, self._signal.flatten(0, 2))):
            pairs = square(matrix)
            signals = pairs if signals is None else signals.add_(pairs)
        assert signals is not None
        factors = [self._by_loss(pairs) for pairs in (signals, square(response))]
        larger, smaller = sorted(factors, key=Tensor.numel, reverse=True)
        sums = larger.mul_(smaller).sum((2, 5))
        gramian.view(self.tasks, self.batch, self.tasks, self.batch).add_(sums)

    def _by_loss(self, pairs: Tensor) -> Tensor:
        """Return ``[tasks or 1, batch, tokens, tasks or 1, batch, tokens]`` from a matrix."""
        tokens = self._inputs.shape[1] * self._positions()
        shape = (len(pairs) // (self.batch * tokens), self.batch, tokens)
        return pairs.view(*shape, *shape)


def _channels_last(tensor: Tensor) -> Tensor:
    """Return ``tensor``, of shape ``[samples, channels, *sizes]``, as one column a channel."""
    return tensor.movedim(1, -1).flatten(0, -2)
