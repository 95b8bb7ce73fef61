"""Where the samples sit in a tensor."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    r"""The dimension of a tensor that runs over the samples, alone or merged with another factor.

    A dimension of :math:`kB` elements, for :math:`B` samples, is split into ``[B, k]``, or into
    ``[k, B]`` where the samples run fastest: element :math:`i` then belongs to sample
    :math:`\lfloor i / k \rfloor`, or to sample :math:`i \bmod B`.

    :ivar dim: The dimension, counted from the first.
    :ivar inner: Whether the samples run fastest; False where nothing else is in the dimension.

    >>> import torch
    >>> from torchjd.autogram.rules import Layout
    >>> Layout(0).front(torch.arange(6), batch=3)
    tensor([[0, 1],
            [2, 3],
            [4, 5]])
    >>> Layout(0, inner=True).front(torch.arange(6), batch=3)
    tensor([[0, 3],
            [1, 4],
            [2, 5]])
    """

    dim: int
    inner: bool = False

    def front(self, tensor: Tensor, batch: int, lead: int = 0) -> Tensor:
        """Return a view of ``tensor`` with the samples in a dimension of their own, in front.

        What else was in their dimension keeps its place.

        :param tensor: Its dimensions are ``lead`` leading ones, then those of this layout.
        :param batch: The number of samples.
        :param lead: Behind how many dimensions the samples are put.
        :returns: Of shape ``[*lead, batch, *rest]``.
        :raises RuntimeError: If the dimension cannot be split so: see :meth:`fits`.
        :raises IndexError: If there is no such dimension.
        """
        dim = self.dim + lead
        rest = tensor.shape[dim] // batch
        if rest == 1:
            return tensor.movedim(dim, lead)
        sizes = (rest, batch) if self.inner else (batch, rest)
        return torch.unflatten(tensor, dim, sizes).movedim(dim + self.inner, lead)

    def fits(self, tensor: Tensor, batch: int, lead: int = 0) -> bool:
        """Whether ``tensor`` has a dimension that can be split so.

        :param tensor: Its dimensions are ``lead`` leading ones, then those of this layout.
        :param batch: The number of samples.
        :param lead: How many dimensions are not those of this layout.
        """
        dim = self.dim + lead
        return dim < tensor.ndim and tensor.shape[dim] > 0 and tensor.shape[dim] % batch == 0
