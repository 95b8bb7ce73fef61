"""CAGrad: the best worst-case improvement near the mean."""

from math import sqrt

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._min_norm import MinNormSolver
from ._projection._active_sets import project_on_cpu
from ._projection._base import ridge, rounding
from ._settings import Configured, Number, OfWeighting
from ._worst_case import WorstCase, ball, numpy_solver

_least_norm = MinNormSolver()


class CAGradWeighting(Configured, GramianWeighting):
    r"""Weights of the mean, plus those of the change within a ball that helps the worst row most.

    .. math:: \alpha_i = \frac1m + \frac{c \|g_0\|}{\|J^\top w\|} w_i, \qquad
        w \in \arg\min_{w \ge 0, \; \sum_j w_j = 1}
        (J^\top w) \cdot g_0 + c \|g_0\| \, \|J^\top w\|,

    with :math:`g_0` the mean of the rows; it takes no more than the Gramian :math:`G = J J^\top`.
    The problem is solved exactly, by active sets. Where the minimum is at :math:`J^\top w = 0`,
    so that :math:`\alpha` is not determined, it is the one of :class:`CAGrad`'s update. Source: Liu
    et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, Algorithm 1.

    :param c: The radius of the ball, relative to the length of the mean; at least 0. With 0 the
        weights are those of the mean.
    :param norm_eps: At least 0. Has no effect: nothing here is divided by a length that may vanish,
        and short gradients are treated as long ones are.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is negative or not finite.

    >>> import torch
    >>> from torchjd.aggregation import CAGradWeighting
    >>> J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    >>> CAGradWeighting(c=0.5)(J @ J.T)
    tensor([0.7041, 0.5000])
    """

    degree = 0.0
    c = Number("The radius of the ball, relative to the length of the mean gradient.", low=0.0)
    norm_eps = Number("Has no effect: short gradients are treated as long ones are.", low=0.0)

    def __init__(self, c: float, norm_eps: float = 1e-4) -> None:
        super().__init__()
        self.c = c
        self.norm_eps = norm_eps

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        dtype = gramian.dtype
        weights = _weigh(gramian.detach().cpu().double(), self.c, dtype)
        if dtype == torch.float64:
            return weights.to(gramian.device)
        return weights.to(gramian.device, torch.promote_types(dtype, torch.float32))


class CAGrad(GramianWeightedAggregator):
    r"""The update near the mean of the rows of :math:`J` that is best for the worst-off row.

    .. math:: \mathcal{A}(J) = \arg\max_{\|d - g_0\| \le c \|g_0\|} \; \min_i \; g_i \cdot d,
        \qquad g_0 = \frac1m \sum_i g_i

    The result is within :math:`c \|g_0\|` of the mean. For :math:`c < 1` it makes progress on the
    mean, :math:`g_0 \cdot \mathcal{A}(J) \ge (1 - c) \|g_0\|^2`, but rows may conflict with it.
    With :math:`c = 0` it is the mean. For :math:`c \ge 1` descent ends at points that are Pareto
    stationary, not at minima of the mean. Where several updates are best, which takes that 0 is the
    most that the worst-off row can get, it is the one closest to the mean: the projection of
    :math:`g_0` onto the dual cone of the rows. Source: Liu et al., "Conflict-Averse Gradient
    Descent for Multi-task Learning", NeurIPS 2021, equation 1 and Algorithm 1.

    :param c: The radius of the ball, relative to the length of the mean; at least 0.
    :param norm_eps: At least 0. Has no effect: nothing here is divided by a length that may vanish,
        and short gradients are treated as long ones are.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is negative or not finite.

    >>> import torch
    >>> from torchjd.aggregation import CAGrad
    >>> CAGrad(c=0.5)(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([0.1835, 1.2041, 1.2041])
    """

    weighting: CAGradWeighting
    traits = Traits(permutation=True, cost="m^2 n + m^3")
    c = OfWeighting(CAGradWeighting.c)
    norm_eps = OfWeighting(CAGradWeighting.norm_eps)

    def __init__(self, c: float, norm_eps: float = 1e-4) -> None:
        super().__init__(CAGradWeighting(c, norm_eps))


def _weigh(G: Tensor, c: float, dtype: torch.dtype) -> Tensor:
    """Return the weights, of shape ``[m]``.

    :param G: The Gramian, in float64 on the CPU.
    :param c: The relative radius.
    :param dtype: The dtype that the Gramian was computed in, whose rounding it carries.
    """
    numpy = numpy_solver()
    easy: Tensor | None = None if numpy is None else numpy.near_the_mean(G, c, dtype)
    return _change(G, c, dtype) + 1.0 / len(G) if easy is None else easy


def _change(G: Tensor, c: float, dtype: torch.dtype) -> Tensor:
    """Return the weights of what is added to the mean; the parameters are those of `_weigh`."""
    m = len(G)
    b, lengths = G.sum(1) / m, G.diagonal().sqrt()
    radius = ball(float(b.sum()) / m, float(lengths.sum()) / m, c, m, dtype)
    if not radius > 0.0:
        return torch.full_like(b, radius)
    live = lengths > 0.0
    if bool(live.all()):
        return _best(G, b, 1.0 / m, radius, dtype, has_zero_rows=False)
    change = torch.zeros_like(b)
    change[live] = _best(G[live][:, live], b[live], 1.0 / m, radius, dtype, has_zero_rows=True)
    return change


def _best(
    G: Tensor, b: Tensor, share: float, radius: float, dtype: torch.dtype, *, has_zero_rows: bool
) -> Tensor:
    """Return the weights of the change, for the rows that are not zero.

    :param G: Their Gramian.
    :param b: Their products with the mean.
    :param share: The weight of a row in the mean.
    :param radius: The radius of the ball.
    :param dtype: The dtype that the Gramian was computed in.
    :param has_zero_rows: Whether there are others.
    """
    mean = torch.full_like(b, share)
    change = project_on_cpu(mean[None], G, ridge(len(G), dtype), None)[0] - mean
    length = sqrt(max(float(change @ G @ change), 0.0))
    start = change
    if length <= radius:  # a level of 0 is attained, so what matters is whether one above 0 is
        start = _least_norm(G)
        square, size = float(start @ G @ start), float(start @ G.diagonal().sqrt())
        if has_zero_rows or square <= rounding(len(G), dtype) * size**2:
            return change
    problem = WorstCase.of(G, b, radius, dtype)
    v = problem.solve(start / problem.e)
    return v * (radius / G.diagonal().sqrt())
