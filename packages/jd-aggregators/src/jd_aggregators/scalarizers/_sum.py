"""Sum: every objective counts fully."""

from torch import Tensor

from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer


class Sum(Scalarizer):
    r"""The sum of the objectives, :math:`\sum_i \ell_i`.

    >>> import torch
    >>> from torchjd.scalarization import Sum
    >>> Sum()(torch.tensor([1.0, 3.0]))
    tensor(4.)
    """

    traits = Traits(permutation=True, cost="m", on_device=True, compiles=True)

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        return values.sum()
