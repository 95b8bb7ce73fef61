from torch import Tensor

from torchjd.aggregation import Aggregator
from torchjd.linalg import Matrix


class Largest(Aggregator):
    """The row of largest norm."""

    def forward(self, matrix: Matrix, /) -> Tensor:
        return matrix[matrix.norm(dim=1).argmax()]
