"""Where the samples sit in a tensor."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The dimension of a tensor that runs over the samples, alone or merged with another factor.

    A dimension of ``k * batch`` elements is split into ``(batch, k)``, or into ``(k, batch)`` where
    the samples run fastest.

    :ivar dim: The dimension, counted from the first.
    :ivar inner: Whether the samples run fastest; False where nothing else is in the dimension.
    """

    dim: int
    inner: bool = False

    def front(self, tensor: Tensor, batch: int, lead: int = 0) -> Tensor:
        """Return a view of ``tensor`` with the samples in a dimension of their own, in front.

        What else was in their dimension keeps its place.

        :param tensor: Its dimensions are ``lead`` leading ones, then those of this layout.
        :param batch: The number of samples.
        :param lead: Behind how many dimensions the samples are put.
        """
        dim = self.dim + lead
        rest = tensor.shape[dim] // batch
        if rest == 1:
            return tensor.movedim(dim, lead)
        sizes = (rest, batch) if self.inner else (batch, rest)
        return torch.unflatten(tensor, dim, sizes).movedim(dim + self.inner, lead)

    def fits(self, tensor: Tensor, batch: int, lead: int = 0) -> bool:
        """Whether ``tensor`` has a dimension that can be split so."""
        dim = self.dim + lead
        return dim < tensor.ndim and tensor.shape[dim] > 0 and tensor.shape[dim] % batch == 0
