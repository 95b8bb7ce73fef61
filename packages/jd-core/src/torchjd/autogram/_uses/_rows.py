"""A use of which the gradients themselves are at hand."""

import torch
from torch import Tensor

from ._use import Use


class Rows(Use):
    r"""The gradients of all losses with respect to a parameter: :math:`J` itself.

    :param jacobian: Of shape ``[tasks, batch, *shape]``, where ``shape`` is that of the parameter.
    """

    def __init__(self, jacobian: Tensor) -> None:
        self.tasks, self.batch = jacobian.shape[:2]
        self.shape = jacobian.shape[2:]
        self._jacobian = jacobian

    def tensors(self) -> list[Tensor]:
        return [self._jacobian]

    def rows(self) -> Tensor:
        return self._jacobian.flatten(0, 1)

    def by_sample(self) -> Tensor:
        """Return :math:`J`, of shape ``[tasks, batch, *shape]``."""
        return self._jacobian

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        matrix = self._matrix()
        gramian.addmm_(matrix, matrix.T)
        return self if self.nbytes() <= keep else None

    def weighted(self, weights: Tensor) -> Tensor:
        return torch.mv(self._matrix().T, weights.reshape(-1)).view(self.shape)

    def merge(self, other: Use) -> Use | None:
        if isinstance(other, Rows):
            return Rows(self._jacobian + other._jacobian)
        return None

    def _matrix(self) -> Tensor:
        return self._jacobian.reshape(self.m, -1)
