"""FairGrad: progress shared as alpha-fairness says."""

from typing import Any

from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._alpha_fair import alpha_fair_weights
from ._settings import Configured, Count, Number, OfWeighting, Setting


class Steps(Setting[int | None]):
    """The largest number of steps; None for as many as it takes."""

    def checked(self, value: Any) -> int | None:
        """Return ``value``, at least 1 if it is a number."""
        if value is None:
            return None
        count = Count("", low=1)
        count.name = self.name
        return count.checked(value)


class FairGradWeighting(Configured, GramianWeighting):
    r"""Weights of the update whose progress is shared as alpha-fairness says.

    .. math:: (G w)_i = w_i^{-1/\alpha}, \quad w > 0, \qquad G = J J^\top,

    of shape ``[m]``. Rows of zeros get the weight 0. Where the rows are Pareto stationary, some
    convex combination of them, each scaled to length 1, being zero, there is no solution: all
    weights are 0. Shorter than 1e-6 counts as zero. Source: Ban and Ji, "Fair Resource Allocation
    in Multi-Task Learning", ICML 2024, equation 4.

    .. note:: The authors minimise the squares of the residuals of this equation. It also says that
        w is the minimum of a strictly convex function, so that it is found here by Newton's method,
        up to rounding.

    :param alpha: How fair: for 1 as :class:`~jd_aggregators.NashMTLWeighting` before its norm is
        limited; towards 0 the sum of the rows; for large values, the least progress of all counts.
        Weights of conflicting rows differ by powers of it, so that beyond 0.05 and 20 they may not
        be found, which is warned of.
    :param max_iters: The largest number of Newton's steps. Default: as many as it takes.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``alpha`` is not above 0, or ``max_iters`` is less than 1.

    >>> import torch
    >>> from torchjd.aggregation import FairGradWeighting
    >>> FairGradWeighting(alpha=1.0)(torch.tensor([[4.0, 0.0], [0.0, 0.25]]))
    tensor([0.5000, 2.0000])
    """

    alpha = Number("How fair: 0 for the sum of the rows, 1 for a Nash bargain.", above=0.0)
    max_iters = Steps("The largest number of steps; None for as many as it takes.")

    def __init__(self, alpha: float, max_iters: int | None = None) -> None:
        super().__init__()
        self.alpha = alpha
        self.max_iters = max_iters

    @property
    def degree(self) -> float:
        r"""That of :math:`s^{-2 \alpha / (1 + \alpha)}`, as the equation says."""
        return -2.0 * self.alpha / (1.0 + self.alpha)

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        return alpha_fair_weights(gramian, self.alpha, self.max_iters)


class FairGrad(GramianWeightedAggregator):
    r"""The update whose progress for the objectives is shared as alpha-fairness says.

    .. math:: \mathcal{A}(J) = J^\top w, \qquad (J J^\top w)_i = w_i^{-1/\alpha}, \quad w > 0

    It points where :math:`\sum_i (g_i \cdot d)^{1 - \alpha} / (1 - \alpha)` is largest among the
    vectors d of its length; for :math:`\alpha = 1`, :math:`\sum_i \log(g_i \cdot d)`. No row
    conflicts with it. Where the rows are Pareto stationary, some convex combination of them, each
    scaled to length 1, being zero, there is no such direction: the result is 0. Shorter than 1e-6
    counts as zero. Source: Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML
    2024, equations 4 and 5.

    .. note:: The authors minimise the squares of the residuals of the equation. It also says that w
        is the minimum of a strictly convex function, so that it is found here by Newton's method,
        up to rounding.

    :param alpha: How fair: for 1 as :class:`~jd_aggregators.NashMTL` before its norm is limited;
        towards 0 the sum of the rows; for large values, the least progress of all counts. Weights
        of conflicting rows differ by powers of it, so that beyond 0.05 and 20 they may not be
        found, which is warned of.
    :param max_iters: The largest number of Newton's steps. Default: as many as it takes.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``alpha`` is not above 0, or ``max_iters`` is less than 1.

    >>> import torch
    >>> from torchjd.aggregation import FairGrad
    >>> FairGrad(alpha=1.0)(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([0.0766, 0.9985, 0.9985])
    """

    weighting: FairGradWeighting
    traits = Traits(
        no_conflict=True,
        permutation=True,
        scaling="s^((1-alpha)/(1+alpha))",
        cost="m^2 n + m^3",
        on_device=True,
        compiles=True,
    )
    alpha = OfWeighting(FairGradWeighting.alpha)
    max_iters = OfWeighting(FairGradWeighting.max_iters)

    def __init__(self, alpha: float, max_iters: int | None = None) -> None:
        super().__init__(FairGradWeighting(alpha, max_iters))
