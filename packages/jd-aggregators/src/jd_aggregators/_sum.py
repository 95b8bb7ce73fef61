"""Sum: the gradient of the sum of the objectives."""

import torch
from torch import Tensor

from torchjd.aggregation import WeightedAggregator
from torchjd.linalg import Matrix

from ._fixed import SYMMETRIC, RowCountWeighting, weight_dtype


class SumWeighting(RowCountWeighting):
    r"""Give weight 1 to each row.

    >>> import torch
    >>> from torchjd.aggregation import SumWeighting
    >>> SumWeighting()(torch.eye(3))
    tensor([1., 1., 1.])
    """

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``."""
        return torch.ones(matrix.shape[0], dtype=weight_dtype(matrix), device=matrix.device)


class Sum(WeightedAggregator):
    r"""The sum of the rows, :math:`\sum_i g_i`: the gradient of the sum of the objectives.

    >>> import torch
    >>> from torchjd.aggregation import Sum
    >>> Sum()(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([2., 2., 2.])
    """

    traits = SYMMETRIC

    def __init__(self) -> None:
        super().__init__(SumWeighting())
