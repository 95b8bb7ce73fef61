"""MoDo: one projected gradient step a call towards the least norm, from independent batches."""

import torch
from torch import Tensor

from torchjd.aggregation import Traits, WeightedAggregator

from ._double_sampling import DoubleSamplingWeighting
from ._remembering import ResetsWeighting
from ._settings import Number, OfWeighting
from ._simplex import project_on_simplex


class MoDoWeighting(DoubleSamplingWeighting):
    r"""Weights that go one step a call towards those of the least norm.

    .. math:: \lambda \leftarrow \Pi_\Delta \big( \lambda - \gamma (C + \rho I) \lambda \big),
        \qquad C = J_1 J_2^\top,

    with :math:`J_1, J_2` the Jacobians of the same objectives on two independent batches, C of
    shape ``[m, m]``, and :math:`\Pi_\Delta` the projection onto the simplex. The weights begin at
    :math:`1/m` and are remembered; those after the step are returned. Source: Chen, Fernando, Ying
    and Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization and
    Conflict-Avoidance", JMLR 2024, equation 2.9.

    :param gamma: The step size :math:`\gamma`, greater than 0. It has to suit the squares of the
        gradients: scaled gradients are other steps.
    :param rho: The regularisation :math:`\rho`, at least 0, which draws the weights together.
    :raises TypeError: If a parameter is no number.
    :raises ValueError: If a parameter is out of range; when called, if the number of objectives
        changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import MoDoWeighting
    >>> from torchjd.linalg import cross_gramian
    >>> first, second = torch.eye(2), torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    >>> weighting = MoDoWeighting(gamma=0.1, rho=0.0)
    >>> weighting(cross_gramian([first], [second]))
    tensor([0.5500, 0.4500], dtype=torch.float64)
    >>> weighting(cross_gramian([first], [second]))
    tensor([0.5900, 0.4100], dtype=torch.float64)
    """

    gamma = Number("The step size.", above=0.0)
    rho = Number("The regularisation.", low=0.0)

    def __init__(self, gamma: float = 0.1, rho: float = 0.1) -> None:
        super().__init__()
        self.gamma = gamma
        self.rho = rho

    def _move(self, point: Tensor, C: Tensor) -> Tensor:
        kept = 1.0 - self.gamma * self.rho
        return project_on_simplex(torch.addmv(point, C, point, beta=kept, alpha=-self.gamma))


class MoDo(ResetsWeighting, WeightedAggregator):
    r"""The rows, weighted by what one step a call towards the least norm has come to.

    .. math:: \mathcal{A}(J) = J^\top \lambda, \qquad
        \lambda \leftarrow \Pi_\Delta \big( \lambda - \gamma (C + \rho I) \lambda \big)

    For C, the inner products of the gradients on two batches, a call takes ``cross_gramian``, of
    shape ``[m, m]``: :func:`torchjd.linalg.cross_gramian` computes it. J is the Jacobian on a third
    batch, or the mean of those on the two. Source: Chen, Fernando, Ying and Chen, "Three-Way
    Trade-Off in Multi-Objective Learning: Optimization, Generalization and Conflict-Avoidance",
    JMLR 2024, equation 2.9.

    :param gamma: The step size :math:`\gamma`, greater than 0. It has to suit the squares of the
        gradients: scaled gradients are other steps.
    :param rho: The regularisation :math:`\rho`, at least 0, which draws the weights together.
    :raises TypeError: If a parameter is no number; when called, if ``cross_gramian`` is missing.
    :raises ValueError: If a parameter is out of range; when called, if the number of objectives
        changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import MoDo
    >>> from torchjd.linalg import cross_gramian
    >>> first, second = torch.eye(2), torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    >>> aggregator = MoDo(gamma=0.1, rho=0.0)
    >>> aggregator((first + second) / 2, cross_gramian=cross_gramian([first], [second]))
    tensor([1.0500, 1.4000])
    """

    weighting: MoDoWeighting
    traits = Traits(permutation=True, state="m", cost="m^2 + m n", on_device=True, compiles=True)
    gamma = OfWeighting(MoDoWeighting.gamma)
    rho = OfWeighting(MoDoWeighting.rho)

    def __init__(self, gamma: float = 0.1, rho: float = 0.1) -> None:
        super().__init__(MoDoWeighting(gamma, rho))
