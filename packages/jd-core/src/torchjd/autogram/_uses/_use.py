"""What a node contributes to the gradients of a parameter, sample by sample."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Use(ABC):
    r"""One use of a parameter: the gradients of all losses that flow through it, in some form.

    There are :math:`K` tasks and :math:`B` samples, so :math:`m = KB` losses, of which loss
    :math:`kB + b` is the one of task :math:`k` and sample :math:`b`. Seen as a matrix, the use is
    :math:`J \in \mathbb{R}^{m \times n}`, where :math:`n` is the size of the parameter; a subclass
    holds it in factors, and forms what is asked of it without forming :math:`J`, where that is
    cheaper.

    :ivar tasks: :math:`K`.
    :ivar batch: :math:`B`.
    :ivar shape: The shape of the parameter.

    >>> import torch
    >>> from torchjd.autogram.rules import Rows
    >>> use = Rows(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))  # one task, two samples
    >>> gramian = torch.zeros(use.m, use.m)
    >>> kept = use.add_gramian(gramian, keep=1000)
    >>> gramian
    tensor([[25.,  4.],
            [ 4.,  1.]])
    >>> kept.weighted(torch.tensor([[1.0, 2.0]]))
    tensor([3., 6.])
    """

    tasks: int
    batch: int
    shape: torch.Size

    @property
    def m(self) -> int:
        """The number of losses."""
        return self.tasks * self.batch

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """Return the tensors that the use holds: its memory, for as long as it is kept."""

    @abstractmethod
    def rows(self) -> Tensor:
        """Return :math:`J`, of shape ``[m, *shape]``."""

    @abstractmethod
    def add_gramian(self, gramian: Tensor, keep: int) -> "Use | None":
        r"""Add :math:`J J^\top` to ``gramian``, of shape ``[m, m]``.

        :param gramian: What is added to, in the dtype of the result.
        :param keep: The most bytes that may be kept for :meth:`weighted`.
        :returns: The form of this use from which :meth:`weighted` is cheapest within ``keep``
            bytes, or None if there is none.
        """

    @abstractmethod
    def weighted(self, weights: Tensor) -> Tensor:
        r"""Return :math:`J^\top w`, of the shape of the parameter.

        :param weights: :math:`w`, of shape ``[tasks, batch]``.
        """

    def merge(self, _other: "Use", /) -> "Use | None":
        """Return the sum of this use and another in one, or None if only rows can be added.

        The other is a use of the same parameter by the same losses, of any class.
        """
        return None

    def nbytes(self) -> int:
        """Return the bytes that keeping the use takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())
