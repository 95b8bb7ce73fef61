"""Mean: every objective counts the same."""

import torch
from torch import Tensor

from torchjd.aggregation import WeightedAggregator
from torchjd.linalg import Matrix

from ._fixed import SYMMETRIC, RowCountWeighting, weight_dtype


class MeanWeighting(RowCountWeighting):
    r"""Give weight :math:`1/m` to each of the :math:`m` rows.

    >>> import torch
    >>> from torchjd.aggregation import MeanWeighting
    >>> MeanWeighting()(torch.eye(4))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``."""
        m = matrix.shape[0]
        return torch.full((m,), 1.0 / m, dtype=weight_dtype(matrix), device=matrix.device)


class Mean(WeightedAggregator):
    r"""The mean of the rows, :math:`\frac1m \sum_i g_i`: the gradient of the mean objective.

    >>> import torch
    >>> from torchjd.aggregation import Mean
    >>> Mean()(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([1., 1., 1.])
    """

    traits = SYMMETRIC

    def __init__(self) -> None:
        super().__init__(MeanWeighting())
