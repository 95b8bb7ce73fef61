"""Constant: weights chosen beforehand."""

from typing import Any

from torch import Tensor

from torchjd.aggregation import Traits, WeightedAggregator
from torchjd.linalg import Matrix

from ._fixed import RowCountWeighting, weight_dtype
from ._settings import Configured, OfWeighting, Setting


class Weights(Setting[Tensor]):
    """One weight per row."""

    def checked(self, value: Any) -> Tensor:
        """Return a copy of ``value``."""
        if not isinstance(value, Tensor) or not value.is_floating_point():
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"`{self.name}` must be a floating-point tensor. Got {found}.")
        if value.ndim != 1 or value.numel() == 0:
            raise ValueError(
                f"`{self.name}` must have one entry per row, in one dimension. "
                f"Got shape {list(value.shape)}."
            )
        return value.detach().clone()


class ConstantWeighting(Configured, RowCountWeighting):
    r"""Give each row the weight that was chosen for it.

    :param weights: The weights :math:`w`, of shape ``[m]``.
    :raises TypeError: If ``weights`` is no floating-point tensor.
    :raises ValueError: If it has not one dimension; when called, if it does not have ``m`` entries.

    >>> import torch
    >>> from torchjd.aggregation import ConstantWeighting
    >>> ConstantWeighting(torch.tensor([2.0, 1.0]))(torch.eye(2))
    tensor([2., 1.])
    """

    weights = Weights("The weights, of shape ``[m]``.")

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``."""
        m = matrix.shape[0]
        if len(self.weights) != m:
            raise ValueError(
                f"`weights` must have one entry per row, {m}. Got {len(self.weights)}."
            )
        return self.weights.to(matrix.device, weight_dtype(matrix), copy=True)


class Constant(WeightedAggregator):
    r"""The weighted sum of the rows, :math:`\sum_i w_i g_i`, with weights chosen beforehand.

    :param weights: The weights :math:`w`, of shape ``[m]``.
    :raises TypeError: If ``weights`` is no floating-point tensor.
    :raises ValueError: If it has not one dimension; when called, if it does not have ``m`` entries.

    >>> import torch
    >>> from torchjd.aggregation import Constant
    >>> Constant(torch.tensor([2.0, 1.0]))(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([-2.,  3.,  3.])
    """

    traits = Traits(linear_under_scaling=True, cost="m n", on_device=True, compiles=True)
    weights = OfWeighting(ConstantWeighting.weights)

    def __init__(self, weights: Tensor) -> None:
        super().__init__(ConstantWeighting(weights))
