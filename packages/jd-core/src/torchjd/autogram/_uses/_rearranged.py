"""A use of a parameter whose elements were rearranged before they were read."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._use import Use

Restore = Callable[[Tensor], Tensor]
"""From rows of what was read, of shape ``[m, *read.shape]``, to rows of the parameter."""


class Rearranged(Use):
    r"""A use whose rows have the same elements as those of another, in other places.

    :math:`J J^\top` does not depend on the order of the columns of :math:`J`.

    :param use: The use of the tensor that was read.
    :param shape: The shape of the parameter.
    :param restore: Puts the elements of rows back to where the parameter has them.
    """

    def __init__(self, use: Use, shape: Sequence[int], restore: Restore) -> None:
        self.tasks, self.batch, self.shape = use.tasks, use.batch, torch.Size(shape)
        self._use, self._restore = use, restore

    def tensors(self) -> list[Tensor]:
        return self._use.tensors()

    def rows(self) -> Tensor:
        return self._restore(self._use.rows())

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        kept = self._use.add_gramian(gramian, keep)
        return None if kept is None else Rearranged(kept, self.shape, self._restore)

    def weighted(self, weights: Tensor) -> Tensor:
        return self._restore(self._use.weighted(weights)[None])[0]
