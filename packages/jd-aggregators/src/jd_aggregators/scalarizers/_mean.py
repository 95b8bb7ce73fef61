"""Mean: every objective counts the same."""

from torch import Tensor

from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer


class Mean(Scalarizer):
    r"""The mean of the objectives, :math:`\frac1m \sum_i \ell_i`.

    >>> import torch
    >>> from torchjd.scalarization import Mean
    >>> Mean()(torch.tensor([1.0, 3.0]))
    tensor(2.)
    """

    traits = Traits(permutation=True, cost="m", on_device=True, compiles=True)

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        return values.mean()
