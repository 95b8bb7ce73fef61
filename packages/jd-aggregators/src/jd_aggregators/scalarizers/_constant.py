"""Constant: weights chosen beforehand."""

from torch import Tensor

from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._settings import PerValue, Tuned
from ._values import dot, matched, widened


class Constant(Tuned, Scalarizer):
    r"""The weighted sum of the objectives, :math:`\sum_i w_i \ell_i`, with weights chosen before.

    :param weights: The weights :math:`w`, in the shape of the values. Any finite numbers.
    :raises TypeError: If ``weights`` is no floating-point tensor.
    :raises ValueError: If an entry is not finite, or there is none; when called, if the values
        have another shape.

    >>> import torch
    >>> from torchjd.scalarization import Constant
    >>> Constant(torch.tensor([2.0, 1.0]))(torch.tensor([1.0, 3.0]))
    tensor(5.)
    """

    traits = Traits(cost="m", on_device=True, compiles=True)
    weights = PerValue[Tensor]("The weights, in the shape of the values.")

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        x = widened(values)
        return dot(matched(self.weights, "weights", x), x).to(values.dtype)
