"""MoCo: a step a call towards the least norm, of gradients that are averaged over the calls."""

from math import isfinite

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Traits
from torchjd.linalg import Matrix

from ._fixed import weight_dtype
from ._on_host import on_host
from ._precision import wide
from ._remembering import Remembering
from ._settings import Configured, Number
from ._simplex import project_on_simplex


class MoCo(Configured, Remembering, Aggregator):
    r"""The averaged gradients, weighted by what a step a call towards their least norm has come to.

    .. math:: Y \leftarrow Y - \beta_k (Y - J), \qquad
        \lambda \leftarrow \Pi_\Delta \big( \lambda - \gamma_k (Y Y^\top + \rho I) \lambda \big),
        \qquad \mathcal{A}(J) = Y^\top \lambda,

    with :math:`\beta_k = \beta / k^{\sigma_\beta}` and
    :math:`\gamma_k = \gamma / k^{\sigma_\gamma}` in the k-th call, Y of the shape ``[m, n]`` of the
    Jacobian, at first 0, :math:`\lambda` of shape ``[m]``, at first :math:`1/m`, and
    :math:`\Pi_\Delta` the projection onto the simplex. The average takes away the noise of the
    batches, by which weights from the gradients of one batch are biased. Source: Fernando et al.,
    "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Approach", ICLR
    2023, algorithm 1.

    .. note::
        The paper leaves open where Y begins; 0 is where the authors' code does, so that the first
        results are short. As in that code, a call returns the direction after its own update. The
        projection of the rows of Y onto balls, which the paper's theory takes the gradients' bounds
        for, is left out, as there; so is the division of gradients by norms or losses, which that
        code offers.

    :param beta: The step size :math:`\beta` of Y, greater than 0 and at most 1.
    :param gamma: The step size :math:`\gamma` of the weights, greater than 0. It has to suit the
        squares of the gradients.
    :param rho: The regularisation :math:`\rho`, at least 0, which draws the weights together.
    :param beta_sigma: How fast :math:`\beta_k` falls, at least 0.
    :param gamma_sigma: How fast :math:`\gamma_k` falls, at least 0.
    :raises TypeError: If a parameter is no number.
    :raises ValueError: If a parameter is out of range; when called, if the shape of the Jacobian
        changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import MoCo
    >>> aggregator = MoCo(beta=0.5, gamma=0.2)
    >>> aggregator(torch.tensor([[4.0, 0.0], [0.0, 2.0]]))
    tensor([0.7000, 0.6500])
    """

    traits = Traits(permutation=True, state="m n", cost="m n", on_device=True, compiles=True)
    remembers = ("_tracked", "_offset")
    beta = Number("The step size of the averaged gradients.", above=0.0, high=1.0)
    gamma = Number("The step size of the weights.", above=0.0)
    rho = Number("The regularisation.", low=0.0)
    beta_sigma = Number("How fast the step size of the gradients falls.", low=0.0)
    gamma_sigma = Number("How fast the step size of the weights falls.", low=0.0)

    def __init__(
        self,
        beta: float = 0.5,
        gamma: float = 0.1,
        rho: float = 0.0,
        *,
        beta_sigma: float = 0.5,
        gamma_sigma: float = 0.5,
    ) -> None:
        super().__init__()
        self.beta = beta
        self.gamma = gamma
        self.rho = rho
        self.beta_sigma = beta_sigma
        self.gamma_sigma = gamma_sigma

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the aggregation, of shape ``[n]``."""
        rows = matrix.detach().to(weight_dtype(matrix))
        m = rows.shape[0]
        k = self.count(rows)
        beta, gamma = (self.beta * k**-self.beta_sigma, self.gamma * k**-self.gamma_sigma)
        tracked = torch.lerp(self.recall("_tracked", tuple(rows.shape), rows), rows, beta)
        last = self.recall("_offset", (m,), rows) + 1.0 / m
        # From the right, two products of m n steps; the Gramian would be one of m^2 n.
        pull = _products(tracked, last @ tracked) + self.rho * last
        weights = project_on_simplex(last - gamma * pull)
        total = rows.sum() + weights.sum()
        sound = total - total == 0
        weights = weights.to(rows.dtype)
        self.remember(sound, _tracked=tracked, _offset=weights - 1.0 / m)
        return torch.where(sound, weights @ tracked, torch.nan).to(matrix.dtype)


def _products(rows: Tensor, mean: Tensor) -> Tensor:
    """Return the inner products of the rows with their mean, which may be beyond their dtype."""
    products = rows @ mean
    if on_host(products) and isfinite(products.sum().item()):
        return products
    length: Tensor = torch.linalg.vector_norm(mean, dtype=wide(mean))
    unit = mean / length.clamp_min(torch.finfo(mean.dtype).tiny)
    return length * (rows @ unit).to(length.dtype)
