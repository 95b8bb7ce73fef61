"""Tchebycheff: the largest weighted objective."""

from torch import Tensor

from jd_aggregators._settings import Number
from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._settings import PerValue, Tuned
from ._values import matched, nan_unless_finite, widened


class Tchebycheff(Tuned, Scalarizer):
    r"""The weighted Tchebycheff scalarization, plain or augmented.

    .. math:: \max_i w_i (\ell_i - z_i) + \rho \sum_i (\ell_i - z_i)

    The first term alone, :math:`\rho = 0`, has minima that are weakly Pareto optimal, and reaches
    every Pareto optimal point by some weights, on fronts of any shape. A small :math:`\rho > 0`
    leaves out those minima that are only weakly optimal. Values that tie for the largest share its
    gradient equally. :class:`STCH` is the smooth version.

    Source: Steuer and Choo, "An interactive weighted Tchebycheff procedure for multiple objective
    programming", Mathematical Programming 26, 1983; for :math:`z \le \ell`, where no absolute
    values are needed.

    :param weights: How much each value counts, :math:`w`, in the shape of the values: at least 0.
        Default: :math:`1/m` for each.
    :param reference: The ideal point :math:`z`, in the shape of the values: a lower bound of them.
        Default: the origin.
    :param rho: The augmentation :math:`\rho`, at least 0.
    :raises TypeError: If ``rho`` is no number, or another parameter no floating-point tensor.
    :raises ValueError: If a parameter is out of its bounds; when called, if the values have another
        shape than ``weights`` or ``reference``.

    >>> import torch
    >>> from torchjd.scalarization import Tchebycheff
    >>> Tchebycheff(torch.tensor([1.0, 2.0]))(torch.tensor([3.0, 1.0]))
    tensor(3.)
    >>> Tchebycheff(torch.tensor([1.0, 2.0]), rho=0.25)(torch.tensor([3.0, 1.0]))
    tensor(4.)
    """

    traits = Traits(permutation=True, cost="m", on_device=True, compiles=True)
    weights = PerValue[Tensor | None](
        "How much each value counts; None for 1/m each.", optional=True, preference=True
    )
    reference = PerValue[Tensor | None]("The ideal point; None for the origin.", optional=True)
    rho = Number("The augmentation.", low=0.0)

    def __init__(
        self,
        weights: Tensor | None = None,
        reference: Tensor | None = None,
        *,
        rho: float = 0.0,
    ) -> None:
        super().__init__()
        self.weights, self.reference, self.rho = weights, reference, rho

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        x = widened(values)
        if (reference := self.reference) is not None:
            x = x - matched(reference, "reference", x)
        weights = self.weights
        weighted = x / x.numel() if weights is None else x * matched(weights, "weights", x)
        loss = weighted.amax() + nan_unless_finite(weighted)
        if self.rho > 0:
            loss = loss + self.rho * x.sum()
        return loss.to(values.dtype)
