"""The order of the losses: as the user has them, flat, and as samples and tasks."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class Losses:
    r"""How a tensor of losses is read as :math:`K` tasks of :math:`B` samples.

    Loss :math:`kB + b` of the engine is the one of task :math:`k` and sample :math:`b`.

    :ivar shape: The shape of the tensor.
    :ivar batch_dim: The dimension of the samples.
    """

    shape: torch.Size
    batch_dim: int

    @property
    def batch(self) -> int:
        """The number of samples."""
        return self.shape[self.batch_dim]

    @property
    def tasks(self) -> int:
        """The number of losses a sample."""
        return prod(self._rest)

    @property
    def _rest(self) -> tuple[int, ...]:
        return (*self.shape[: self.batch_dim], *self.shape[self.batch_dim + 1 :])

    def cotangents(self, like: Tensor) -> Tensor:
        """Return, for each task, ones at its losses: shape ``[tasks, *shape]``."""
        eye = torch.eye(self.tasks, dtype=like.dtype, device=like.device)
        spread = eye.view(self.tasks, *self._rest).unsqueeze(1 + self.batch_dim)
        return spread.expand(self.tasks, *self.shape)

    def by_task(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``, of the shape of the losses, as ``[tasks, batch]``."""
        return tensor.movedim(self.batch_dim, -1).reshape(self.tasks, self.batch)

    def flat(self, gramian: Tensor) -> Tensor:
        """Reorder a Gramian of the engine as the losses are when flattened."""
        if self.tasks == 1:
            return gramian
        r, m = len(self._rest), gramian.shape[0]
        spread = gramian.view(*self._rest, self.batch, *self._rest, self.batch)
        spread = spread.movedim((r, 2 * r + 1), (self.batch_dim, r + 1 + self.batch_dim))
        return spread.reshape(m, m)


def generalized(gramian: Tensor, shape: torch.Size) -> Tensor:
    """Return the Gramian of flattened losses as ``[d1, ..., dk, dk, ..., d1]``."""
    k = len(shape)
    return gramian.view((*shape, *shape)).permute((*range(k), *reversed(range(k, 2 * k))))
