"""ScaleInvariant: every objective counts by its relative change."""

from torch import Tensor

from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._values import widened


class ScaleInvariant(Scalarizer):
    r"""The sum of the logarithms of the objectives, :math:`\sum_i \log \ell_i`.

    Its gradient, :math:`\sum_i \nabla \ell_i / \ell_i`, stays the same when an objective is
    measured in another unit.

    Source: the baseline SI of Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022,
    section 6.

    .. note::
        The values must be positive, which is not checked: 0 gives minus infinity, and negative
        values give NaN.

    >>> import torch
    >>> from torchjd.scalarization import ScaleInvariant
    >>> losses = torch.tensor([0.5, 4.0], requires_grad=True)
    >>> ScaleInvariant()(losses).backward()
    >>> losses.grad
    tensor([2.0000, 0.2500])
    """

    traits = Traits(permutation=True, cost="m", on_device=True, compiles=True)

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        return widened(values).log().sum().to(values.dtype)
