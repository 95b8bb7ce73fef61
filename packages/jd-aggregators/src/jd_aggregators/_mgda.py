"""MGDA: the shortest convex combination of the gradients."""

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._min_norm import MinNormSolver
from ._settings import Configured, Count, Number, OfWeighting

_least_norm = MinNormSolver()


class MGDAWeighting(Configured, GramianWeighting):
    r"""Weights of the point of least norm in the convex hull of the rows.

    .. math:: w \in \arg\min_{w \ge 0, \; \sum_j w_j = 1} w^\top G w, \qquad G = J J^\top

    The problem is solved exactly, by :class:`~torchjd.linalg.MinNormSolver`: there are no
    iterations that one could stop early. Source: Désidéri, "Multiple-gradient descent algorithm
    (MGDA) for multiobjective optimization", Comptes Rendus Mathematique, 2012.

    :param epsilon: At least 0. Has no effect; accepted for the sake of code that was written for
        the iterations of Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization",
        NeurIPS 2018, Algorithm 2.
    :param max_iters: At least 1. Likewise.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is out of its bounds.

    >>> import torch
    >>> from torchjd.aggregation import MGDAWeighting
    >>> J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    >>> MGDAWeighting()(J @ J.T)
    tensor([0.6000, 0.4000])
    """

    degree = 0.0
    epsilon = Number("Has no effect: the problem is solved exactly.", low=0.0)
    max_iters = Count("Has no effect: the problem is solved exactly.", low=1)

    def __init__(self, epsilon: float = 0.001, max_iters: int = 100) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.max_iters = max_iters

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        return _least_norm(gramian).to(torch.promote_types(gramian.dtype, torch.float32))


class MGDA(GramianWeightedAggregator):
    r"""The shortest vector in the convex hull of the rows of :math:`J`.

    .. math:: \mathcal{A}(J) = \arg\min \left\{ \|d\| : d = J^\top w, \; w \ge 0, \;
        \sum_j w_j = 1 \right\}

    No row conflicts with the result: :math:`g_i \cdot \mathcal{A}(J) \ge \|\mathcal{A}(J)\|^2` for
    every row, with equality for those of positive weight. It is zero exactly where no direction
    improves all objectives, and never longer than the shortest row. Source: Désidéri,
    "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", Comptes Rendus
    Mathematique, 2012.

    :param epsilon: At least 0. Has no effect; accepted for the sake of code that was written for
        the iterations of Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization",
        NeurIPS 2018, Algorithm 2. Here the problem is solved exactly.
    :param max_iters: At least 1. Likewise.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is out of its bounds.

    >>> import torch
    >>> from torchjd.aggregation import MGDA
    >>> MGDA()(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    tensor([0.3000, 0.9000])
    """

    weighting: MGDAWeighting
    traits = Traits(
        no_conflict=True,
        permutation=True,
        cost="m^2 n + m^3",
        on_device=True,
        compiles=True,
    )
    epsilon = OfWeighting(MGDAWeighting.epsilon)
    max_iters = OfWeighting(MGDAWeighting.max_iters)

    def __init__(self, epsilon: float = 0.001, max_iters: int = 100) -> None:
        super().__init__(MGDAWeighting(epsilon, max_iters))
