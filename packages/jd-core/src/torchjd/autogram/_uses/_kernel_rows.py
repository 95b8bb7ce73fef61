"""A use of which the gradients are at hand, in the order in which a convolution computes them."""

import torch
from torch import Tensor

from ._square import square
from ._use import Use


class KernelRows(Use):
    r"""Gradients of a convolution's weight, with the rows of its kernel apart.

    :param jacobian: Of shape ``[rows, tasks, batch, groups, responses, channels * windows]``, with
        one entry in ``rows`` for each along the first dimension of the kernel, and one in
        ``windows`` for each along all others.
    :param shape: The shape of the weight.
    :param transposed: Whether the last two dimensions of ``jacobian`` are exchanged.
    """

    def __init__(self, jacobian: Tensor, shape: torch.Size, transposed: bool = False) -> None:
        self.tasks, self.batch = jacobian.shape[1:3]
        self.shape = shape
        self._jacobian, self._transposed = jacobian, transposed

    def tensors(self) -> list[Tensor]:
        return [self._jacobian]

    def rows(self) -> Tensor:
        return self._ordered(self._jacobian.flatten(1, 2))

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        for jacobian in self._jacobian:
            add_products(gramian, jacobian)
        return self if self.nbytes() <= keep else None

    def weighted(self, weights: Tensor) -> Tensor:
        flat = weights.reshape(-1)
        parts = [torch.mv(rows.reshape(self.m, -1).T, flat) for rows in self._jacobian]
        total = torch.stack(parts).view(-1, 1, *self._jacobian.shape[3:])
        return self._ordered(total)[0]

    def merge(self, other: Use, /) -> Use | None:
        if isinstance(other, KernelRows) and other._transposed == self._transposed:
            return KernelRows(self._jacobian + other._jacobian, self.shape, self._transposed)
        return None

    def _ordered(self, rows: Tensor) -> Tensor:
        """Return rows of the parameter's own shape."""
        rows = rows.mT if self._transposed else rows
        split = torch.unflatten(rows, -1, (self.shape[1], -1)).flatten(2, 3)
        return split.permute(1, 2, 3, 0, 4).reshape(-1, *self.shape)


def add_products(gramian: Tensor, jacobian: Tensor) -> None:
    """Add the products of rows, of shape ``[tasks, batch, ...]``, to ``gramian``."""
    gramian.add_(square(jacobian.reshape(gramian.shape[0], -1)))
