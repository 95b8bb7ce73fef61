"""What the weightings that look only at the number of rows have in common."""

import torch
from torch import Tensor

from torchjd.aggregation import MatrixWeighting, Traits

SYMMETRIC = Traits(
    permutation=True, linear_under_scaling=True, cost="m n", on_device=True, compiles=True
)
"""Of methods that give every row the same weight."""


def weight_dtype(matrix: Tensor) -> torch.dtype:
    """Return the dtype of the weights of the rows of ``matrix``: its own, and at least float32."""
    return torch.promote_types(matrix.dtype, torch.float32)


class RowCountWeighting(MatrixWeighting):
    """Weights that depend on the number of rows alone: any matrix of the objectives will do."""

    needs = "row count"
    degree = 0.0
