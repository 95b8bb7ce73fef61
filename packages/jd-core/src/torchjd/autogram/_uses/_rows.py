"""A use of which the gradients themselves are at hand."""

import torch
from torch import Tensor

from ._square import SharedSquare
from ._use import Use


class Rows(Use):
    r"""The gradients of all losses with respect to a parameter: :math:`J` itself.

    :param jacobian: Of shape ``[tasks, batch, *shape]``, where ``shape`` is that of the parameter.
    :param shared: :math:`J J^\top`, where another use needs the same one.

    >>> import torch
    >>> from torchjd.autogram.rules import Rows
    >>> use = Rows(torch.zeros(2, 4, 3, 5))  # 2 tasks, 4 samples, a parameter of shape [3, 5]
    >>> use.m, use.shape, use.rows().shape
    (8, torch.Size([3, 5]), torch.Size([8, 3, 5]))
    """

    def __init__(self, jacobian: Tensor, shared: SharedSquare | None = None) -> None:
        self.tasks, self.batch = jacobian.shape[:2]
        self.shape = jacobian.shape[2:]
        self._jacobian = jacobian
        self._shared = shared

    def tensors(self) -> list[Tensor]:
        return [self._jacobian]

    def rows(self) -> Tensor:
        return self._jacobian.flatten(0, 1)

    def by_sample(self) -> Tensor:
        """Return :math:`J`, of shape ``[tasks, batch, *shape]``."""
        return self._jacobian

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        if self._shared is None:
            matrix = self._matrix()
            gramian.addmm_(matrix, matrix.T)
        else:
            gramian.add_(self._shared.take())
        return self if self.nbytes() <= keep else None

    def weighted(self, weights: Tensor) -> Tensor:
        return torch.mv(self._matrix().T, weights.reshape(-1)).view(self.shape)

    def merge(self, other: Use, /) -> Use | None:
        if isinstance(other, Rows):
            return Rows(self._jacobian + other._jacobian)
        return None

    def _matrix(self) -> Tensor:
        return self._jacobian.reshape(self.m, -1)
