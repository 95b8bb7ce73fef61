"""GeometricMean: the product of the objectives, brought back to their scale."""

from torch import Tensor

from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._values import widened


class GeometricMean(Scalarizer):
    r"""The geometric mean of the objectives, also known as geometric loss strategy (GLS).

    .. math:: \Bigl( \prod_{i=1}^m \ell_i \Bigr)^{1/m}, \qquad
        \text{with derivatives} \quad \frac{1}{m \, \ell_i} \Bigl( \prod_j \ell_j \Bigr)^{1/m}

    Each objective counts by its relative change, so units play no part. It is computed from the
    logarithms: no product overflows or vanishes.

    Source: Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
    Strategy for Multi-Task Learning", CVPR workshops 2019.

    .. note::
        The values must be positive, which is not checked. Negative ones give NaN. A value of 0
        makes the mean 0, where its derivative by that value is infinite: the gradient there is not
        finite. Add a small constant to values that may become 0.

    >>> import torch
    >>> from torchjd.scalarization import GeometricMean
    >>> GeometricMean()(torch.tensor([1.0, 4.0]))
    tensor(2.)
    """

    traits = Traits(permutation=True, cost="m", on_device=True, compiles=True)

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        return widened(values).log().mean().exp().to(values.dtype)
