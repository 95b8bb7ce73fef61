"""What the methods that look at two independent batches have in common."""

from abc import abstractmethod

import torch
from torch import Tensor

from torchjd.aggregation import Weighting

from ._fixed import weight_dtype
from ._precision import widened
from ._remembering import Remembering
from ._settings import Configured


class DoubleSamplingWeighting(Configured, Remembering, Weighting[Tensor]):
    """A point of the simplex, which a call moves according to the Gramian across two batches.

    It begins at ``1/m`` each, and is remembered. The Gramian of one batch overestimates that of
    the expected gradients by the noise, of which the one across two batches is free on average.
    """

    needs = "cross gramian"
    # From the centre of the simplex: zeros before the first call, which is no case of its own then.
    remembers = ("_offset",)

    def forward(self, cross_gramian: Tensor, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of the input or float32."""
        C = widened(cross_gramian)
        m = C.shape[0]
        last = self.recall("_offset", (m,), C) + 1.0 / m
        total = C.sum()
        sound = total - total == 0  # false for NaN and infinity alike, and cheaper than their test
        # A solver may not look at an entry: where one is not finite, none of the weights is.
        point = torch.where(sound, self._move(last, C), torch.nan)
        weights = self._weights(point).to(weight_dtype(cross_gramian))
        self.remember(sound, _offset=point - 1.0 / m)
        return weights

    @abstractmethod
    def _move(self, point: Tensor, C: Tensor) -> Tensor:
        """Return where ``point``, of shape ``[m]``, moves."""

    def _weights(self, point: Tensor) -> Tensor:
        """Return the weights at ``point``."""
        return point
