"""COSMOS: a weighted sum that favours values in proportion to the weights."""

import torch
from torch import Tensor

from jd_aggregators._settings import Number
from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._settings import PerValue, Tuned
from ._values import dot, doubled, matched, readable


class COSMOS(Tuned, Scalarizer):
    r"""The weighted sum, less a multiple of the cosine between weights and values.

    .. math:: w^\top \ell - \lambda \, \frac{w^\top \ell}{\lVert w \rVert \, \lVert \ell \rVert}

    The cosine spreads the solutions for different weights along the Pareto front. Assign other
    ``weights`` before each call, such as draws from a Dirichlet distribution. In the paper the
    model gets the weights as an input too: that is left to the user.

    Source: Ruchte and Grabocka, "Scalable Pareto Front Approximation for Deep Multi-Objective
    Learning", ICDM 2021.

    .. note::
        Values that are all 0 have no direction: the cosine and its gradient are taken as 0 there.
        The values on the way are float64, where the device has it.

    :param lambda_: How much the cosine counts, :math:`\lambda`, at least 0. The paper uses 0.01
        to 8, by problem.
    :param weights: The weights :math:`w`, in the shape of the values: at least 0.
    :raises TypeError: If ``lambda_`` is no number, or ``weights`` no floating-point tensor.
    :raises ValueError: If a parameter is out of its bounds; when called, if the values have another
        shape than ``weights``.

    >>> import torch
    >>> from torchjd.scalarization import COSMOS
    >>> COSMOS(2.0, torch.tensor([0.0, 1.0]))(torch.tensor([3.0, 4.0]))
    tensor(2.4000)
    """

    traits = Traits(cost="m", on_device=True, compiles=True)
    lambda_ = Number("How much the cosine counts.", low=0.0)
    weights = PerValue[Tensor]("The weights, in the shape of the values.", preference=True)

    def __init__(self, lambda_: float, weights: Tensor) -> None:
        super().__init__()
        self.lambda_, self.weights = lambda_, weights

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        x = doubled(values)
        weights = matched(self.weights, "weights", x)
        linear = dot(weights, x)
        length = torch.linalg.vector_norm(weights) * torch.linalg.vector_norm(x)
        if not readable(length) or not length.item():
            # Divided by infinity, 0 has the value and the derivatives 0.
            length = length.masked_fill(length.detach().logical_not(), torch.inf)
        return torch.add(linear, linear / length, alpha=-self.lambda_).to(values.dtype)
