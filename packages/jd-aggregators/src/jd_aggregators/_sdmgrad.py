"""SDMGrad: the least norm near a preferred direction, from independent batches."""

import torch
from torch import Tensor

from torchjd.aggregation import Traits, WeightedAggregator

from ._double_sampling import DoubleSamplingWeighting
from ._preference import preference
from ._remembering import ResetsWeighting
from ._settings import Count, Number, OfWeighting, Preference
from ._simplex import project_on_simplex


class SDMGradWeighting(DoubleSamplingWeighting):
    r"""Weights of the convex combination whose sum with a preferred direction has least norm.

    .. math:: v \leftarrow \mu v + C (w + \lambda p), \qquad
        w \leftarrow \Pi_\Delta (w - \eta v), \qquad C = J_1 J_2^\top / s^2,

    ``n_iter`` times a call, from v = 0, with :math:`J_1, J_2` the Jacobians of the same objectives
    on two independent batches, C of shape ``[m, m]``, :math:`\Pi_\Delta` the projection onto the
    simplex, p the preference, by default :math:`1/m` each, and s the mean of the roots of the
    diagonal, of which negative entries count as 0. Then the weights are
    :math:`(w + \lambda p) / (1 + \lambda)`. The next call starts from w; the first from
    :math:`1/m`. Source: Xiao, Ban and Ji, "Direction-oriented Multi-objective Learning: Simple and
    Provable Stochastic Algorithms", NeurIPS 2023, algorithm 1 and section 6.1.

    .. note::
        Algorithm 1 is without momentum, and its update is :math:`1 + \lambda` times as long; both
        are as in the authors' code here. Where no diagonal entry is positive, s is the root of the
        largest entry, so that the scale of the gradients plays no part there either.

    :param lr: The step size :math:`\eta`, greater than 0.
    :param momentum: The momentum :math:`\mu`, at least 0 and less than 1.
    :param n_iter: How many steps a call makes, at least 1.
    :param lambda_: How strong the preferred direction is, :math:`\lambda`, at least 0. With 0 it is
        the least norm alone that is looked for, as MGDA does.
    :param pref_vector: The preference p, of shape ``[m]``, at least 0. Default: the mean.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is out of range; when called, if ``pref_vector`` does not
        have ``m`` entries, or the number of objectives changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import SDMGradWeighting
    >>> from torchjd.linalg import cross_gramian
    >>> first, second = torch.eye(2), torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    >>> SDMGradWeighting(lr=0.3, lambda_=1.0)(cross_gramian([first], [second]))
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """

    lr = Number("The step size.", above=0.0)
    momentum = Number("The momentum.", low=0.0, below=1.0)
    n_iter = Count("How many steps a call makes.", low=1)
    lambda_ = Number("How strong the preferred direction is.", low=0.0)
    pref_vector = Preference("The preferred direction's weights; None for the mean.")

    def __init__(
        self,
        lr: float = 10.0,
        momentum: float = 0.5,
        n_iter: int = 20,
        lambda_: float = 0.3,
        pref_vector: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.lr = lr
        self.momentum = momentum
        self.n_iter = n_iter
        self.lambda_ = lambda_
        self.pref_vector = pref_vector

    def _move(self, point: Tensor, C: Tensor) -> Tensor:
        C = self.lr * C / _square_of_scale(C)
        pull = C @ (self.lambda_ * preference(self.pref_vector, C))
        velocity = torch.zeros_like(point)
        for _ in range(self.n_iter):
            velocity = torch.addmv(pull + self.momentum * velocity, C, point)
            point = project_on_simplex(point - velocity)
        return point

    def _weights(self, point: Tensor) -> Tensor:
        preferred = self.lambda_ * preference(self.pref_vector, point)
        return (point + preferred) / (1.0 + self.lambda_)


def _square_of_scale(C: Tensor) -> Tensor:
    """Return what C is divided by, greater than 0."""
    square = C.diagonal().clamp_min(0.0).sqrt().mean().square()
    largest = C.abs().amax()
    return torch.where(square > 0, square, torch.where(largest > 0, largest, 1.0))


class SDMGrad(ResetsWeighting, WeightedAggregator):
    r"""The convex combination of the rows whose sum with a preferred direction has least norm.

    .. math:: \mathcal{A}(J) = \frac{J^\top (w + \lambda p)}{1 + \lambda}, \qquad
        w \approx \arg\min_{w \in \Delta} \; \| J^\top (w + \lambda p) \|

    It is found by some steps of projected gradients a call, from where the last call ended. They
    are of the inner products of the gradients on two batches, which a call takes as
    ``cross_gramian``, of shape ``[m, m]``: :func:`torchjd.linalg.cross_gramian` computes it. J is
    the Jacobian on a third batch. Source: Xiao, Ban and Ji, "Direction-oriented Multi-objective
    Learning: Simple and Provable Stochastic Algorithms", NeurIPS 2023, algorithm 1 and section 6.1.

    :param lr: The step size, greater than 0; of gradients of scale 1, as the method makes them.
    :param momentum: The momentum, at least 0 and less than 1.
    :param n_iter: How many steps a call makes, at least 1.
    :param lambda_: How strong the preferred direction is, :math:`\lambda`, at least 0.
    :param pref_vector: The preference p, of shape ``[m]``, at least 0. Default: the mean.
    :raises TypeError: If a parameter is of a wrong type; when called, if ``cross_gramian`` is
        missing.
    :raises ValueError: If a parameter is out of range; when called, if ``pref_vector`` does not
        have ``m`` entries, or the number of objectives changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import SDMGrad
    >>> from torchjd.linalg import cross_gramian
    >>> first, second = torch.eye(2), torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    >>> aggregator = SDMGrad(lr=0.3, lambda_=1.0)
    >>> aggregator(torch.eye(2), cross_gramian=cross_gramian([first], [second]))
    tensor([0.7500, 0.2500])
    """

    weighting: SDMGradWeighting
    traits = Traits(
        permutation=True,
        scaling="s",
        state="m",
        cost="m^2 + m n",
        on_device=True,
        compiles=True,
    )
    lr = OfWeighting(SDMGradWeighting.lr)
    momentum = OfWeighting(SDMGradWeighting.momentum)
    n_iter = OfWeighting(SDMGradWeighting.n_iter)
    lambda_ = OfWeighting(SDMGradWeighting.lambda_)
    pref_vector = OfWeighting(SDMGradWeighting.pref_vector)

    def __init__(
        self,
        lr: float = 10.0,
        momentum: float = 0.5,
        n_iter: int = 20,
        lambda_: float = 0.3,
        pref_vector: Tensor | None = None,
    ) -> None:
        super().__init__(SDMGradWeighting(lr, momentum, n_iter, lambda_, pref_vector))
