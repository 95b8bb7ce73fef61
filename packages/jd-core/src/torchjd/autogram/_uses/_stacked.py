"""Uses of several matrices that are one parameter."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._rows import Rows
from ._use import Use


class Stacked(Use):
    """Uses of several matrices that are one parameter, of shape ``[h, *matrix.shape]``.

    :param parts: The uses of the matrices.
    """

    def __init__(self, parts: Sequence[Use]) -> None:
        self.tasks, self.batch = parts[0].tasks, parts[0].batch
        self.shape = torch.Size((len(parts), *parts[0].shape))
        self._parts = parts

    def tensors(self) -> list[Tensor]:
        return [tensor for part in self._parts for tensor in part.tensors()]

    def rows(self) -> Tensor:
        return torch.stack([part.rows() for part in self._parts], dim=1)

    def as_rows(self) -> Rows:
        """Return the same use by its rows."""
        return Rows(self.rows().view(self.tasks, self.batch, *self.shape))

    def is_larger_than_rows(self) -> bool:
        """Whether the rows take less room than what they are made of."""
        size = self._parts[0].tensors()[0].element_size()
        return self.m * self.shape.numel() * size <= self.nbytes()

    def merge(self, other: Use, /) -> Use | None:
        if not isinstance(other, Stacked):
            return None
        merged = [part.merge(added) for part, added in zip(self._parts, other._parts, strict=True)]
        parts = [part for part in merged if part is not None]
        return Stacked(parts) if len(parts) == len(merged) else None

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        share = keep // len(self._parts)
        kept = [part.add_gramian(gramian, share) for part in self._parts]
        parts = [part for part in kept if part is not None]
        return Stacked(parts) if len(parts) == len(kept) else None

    def weighted(self, weights: Tensor) -> Tensor:
        return torch.stack([part.weighted(weights) for part in self._parts])
