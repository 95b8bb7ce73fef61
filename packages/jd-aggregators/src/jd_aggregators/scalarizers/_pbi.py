"""PBI: how far along a direction, and how far off it."""

import torch
from torch import Tensor

from jd_aggregators._settings import Number
from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._settings import PerValue, Tuned
from ._values import dot, doubled, matched


class PBI(Tuned, Scalarizer):
    r"""The penalty-based boundary intersection.

    .. math:: d_1 + \theta \, d_2, \qquad d_1 = u^\top (\ell - z), \quad
        d_2 = \lVert \ell - z - d_1 u \rVert, \quad u = \frac{w}{\lVert w \rVert}

    The distance from the ideal point along the direction :math:`w`, and, as a penalty, the distance
    to that direction. To follow a whole Pareto front, assign other ``weights`` before each call.

    Source: Zhang and Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition",
    IEEE Transactions on Evolutionary Computation 11, 2007, section II-C.

    .. note::
        The norm is not differentiable where :math:`d_2 = 0`. Its gradient there is taken as 0,
        which is one of its subgradients, and nothing is added under the root. The values on the
        way are float64, where the device has it.

    :param theta: The penalty :math:`\theta`, at least 0. The paper uses 5.
    :param weights: The direction :math:`w`, in the shape of the values: at least 0.
    :param reference: The ideal point :math:`z`, in the shape of the values. Default: the origin.
    :raises TypeError: If ``theta`` is no number, or another parameter no floating-point tensor.
    :raises ValueError: If a parameter is out of its bounds; when called, if the values have another
        shape than ``weights`` or ``reference``.

    >>> import torch
    >>> from torchjd.scalarization import PBI
    >>> PBI(5.0, torch.tensor([0.0, 2.0]))(torch.tensor([1.0, 4.0]))
    tensor(9.)
    """

    traits = Traits(cost="m", on_device=True, compiles=True)
    theta = Number("The penalty.", low=0.0)
    weights = PerValue[Tensor]("The direction, in the shape of the values.", preference=True)
    reference = PerValue[Tensor | None]("The ideal point; None for the origin.", optional=True)

    def __init__(self, theta: float, weights: Tensor, reference: Tensor | None = None) -> None:
        super().__init__()
        self.theta, self.weights, self.reference = theta, weights, reference

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        x = doubled(values)
        direction = matched(self.weights, "weights", x)
        direction = direction / torch.linalg.vector_norm(direction)
        if (reference := self.reference) is not None:
            x = x - matched(reference, "reference", x)
        along = dot(direction, x)
        off = torch.linalg.vector_norm(torch.addcmul(x, along, direction, value=-1.0))
        return torch.add(along, off, alpha=self.theta).to(values.dtype)
