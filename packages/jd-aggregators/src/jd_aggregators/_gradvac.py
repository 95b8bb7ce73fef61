"""GradVac: each gradient, turned towards the others as far as is usual for the two."""

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._pairing import Pairing
from ._precision import finished, widened
from ._remembering import Remembering, ResetsWeighting
from ._settings import Configured, Number, OfWeighting
from ._spectrum import lengths_of
from ._surgery_small import FEW, all_finite, turn_rows

# A row that loses nearly all of its length to its partners is known by its square alone, to some
# roundings of what it was made of. Below that it has no direction that could be compared.
_ROUNDINGS = 100.0


class GradVacWeighting(Configured, Remembering, Pairing, GramianWeighting):
    r"""Weights of the sum of the rows, each turned towards the others as far as is usual.

    For each row, :math:`g_i' = g_i` to begin with; then, for all other rows :math:`g_j` in a random
    order, with :math:`\phi_{ij}` the cosine of :math:`g_i'` and :math:`g_j` and
    :math:`\hat\phi_{ij}` its target: where :math:`\phi_{ij} < \hat\phi_{ij}`,

    .. math:: g_i' \leftarrow g_i' + \frac{\|g_i'\|
        \left( \hat\phi_{ij} \sqrt{1 - \phi_{ij}^2} - \phi_{ij} \sqrt{1 - \hat\phi_{ij}^2} \right)}
        {\|g_j\| \sqrt{1 - \hat\phi_{ij}^2}} \, g_j,

    which gives the two the cosine :math:`\hat\phi_{ij}`; and then, for the next call,
    :math:`\hat\phi_{ij} \leftarrow (1 - \beta) \hat\phi_{ij} + \beta \phi_{ij}`. The targets are 0
    at first, so that the first call does as :class:`~jd_aggregators.PCGradWeighting`. The weights
    are those of :math:`\sum_i g_i'`, from :math:`G = J J^\top` alone. Where :math:`g_i'` or
    :math:`g_j` is zero there is no cosine: both the row and the target stay. Source: Wang et al.,
    "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively Multilingual
    Models", ICLR 2021, Algorithm 1.

    The targets are part of the ``state_dict``; ``reset()`` forgets them, as another number of rows
    requires.

    :param beta: How much the last cosine counts in the target, in [0, 1].
    :param eps: The least :math:`1 - \hat\phi_{ij}^2` that is divided by; rows whose cosine is as
        close to 1, and those whose target is to -1, stay. It is compared with cosines, so that the
        scale of the gradients plays no part; below the rounding of the arithmetic it has no effect.
    :param generator: A generator on the CPU, for orders that can be repeated. Default: one that is
        seeded from the system; the global random state is not used.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``beta`` or ``eps`` is out of range, or ``generator`` is on another
        device; when called, if the number of rows has changed.

    >>> import torch
    >>> from torchjd.aggregation import GradVacWeighting
    >>> weighting = GradVacWeighting(beta=0.5)
    >>> agreeing = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> weighting(agreeing), weighting(torch.eye(2))
    (tensor([1., 1.]), tensor([1.2582, 1.2582]))
    """

    remembers = ("_targets",)
    degree = 0.0
    beta = Number("How much the last cosine counts in the target.", low=0.0, high=1.0)
    eps = Number("The least squared sine of a target that is divided by.", low=0.0)

    def __init__(
        self,
        beta: float = 0.5,
        eps: float = 1e-8,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.beta = beta
        self.eps = eps
        self.generator = generator  # type: ignore[assignment]  # None is replaced

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``."""
        G = widened(gramian)
        targets = self.recall("_targets", tuple(G.shape), G)
        turn = self._turn_few if G.device.type == "cpu" and len(G) <= FEW else self._turn
        noise = _ROUNDINGS * torch.finfo(gramian.dtype).eps
        weights, met = turn(G, targets, max(self.eps, torch.finfo(G.dtype).eps), noise)
        found = finished(weights, gramian)
        self.remember(found.isfinite().all(), _targets=met)
        return found

    def _turn_few(
        self, G: Tensor, targets: Tensor, least: float, noise: float
    ) -> tuple[Tensor, Tensor]:
        rows, orders = G.tolist(), self.orders(len(G))
        if not all_finite(rows):
            return G[0], targets
        weights, met = turn_rows(rows, orders, targets.tolist(), self.beta, least, noise)
        return G.new_tensor(weights), G.new_tensor(met)

    def _turn(
        self, G: Tensor, targets: Tensor, least: float, noise: float
    ) -> tuple[Tensor, Tensor]:
        """Return what :func:`turn_rows` does: at each step, all rows meet their next partners."""
        partners = self.partners(G)
        lengths, inverses = lengths_of(G)
        # Each row starts from length 1: the procedure of a row does not depend on its scale.
        C = G * inverses * inverses[:, None]
        alive = (lengths > 0).take(partners)
        was = targets.T.gather(0, partners)
        aims = torch.where(alive, was, 0.0)
        slopes = aims / (1.0 - aims * aims).clamp(min=least).sqrt()
        # Next to 1 and -1, whether a cosine is below its target is rounding, and to turn the row by
        # a slope that is not that of its target would take it away.
        most = max(1.0 - least, 0.0) ** 0.5
        bounds = torch.where(aims >= -most, aims.clamp(max=most), -2.0)
        products, squares = C.clone(), C.diagonal().clone()
        reach = torch.ones_like(squares)
        added, cosines = torch.zeros_like(aims), torch.zeros_like(aims)
        for k, partner in enumerate(partners.unbind()):
            product = products.gather(1, partner[:, None])[:, 0]
            resolved = squares > noise * reach * reach
            length = torch.where(resolved, squares, 0.0).sqrt()
            torch.div(product, length, out=cosines[k])
            across = (length * length - product * product).clamp_(min=0.0).sqrt_()
            turned = torch.addcmul(-product, slopes[k], across)
            part = torch.where(product < bounds[k] * length, turned, 0.0)
            added[k].copy_(part)
            products.addcmul_(part[:, None], C.index_select(0, partner))
            squares.addcmul_(part, 2.0 * product + part)
            reach.add_(part.abs())
        weights = torch.zeros_like(lengths)
        weights.index_add_(0, partners.flatten(), (added * lengths).flatten())
        known = cosines.isfinite() & alive
        moved = torch.lerp(aims, cosines.clamp_(-1.0, 1.0), self.beta)
        met = targets.T.scatter(0, partners, torch.where(known, moved, was))
        return 1.0 + weights * inverses, met.T


class GradVac(ResetsWeighting, GramianWeightedAggregator):
    r"""The sum of the rows of :math:`J`, each turned towards the others as far as is usual.

    For each row, :math:`g_i' = g_i` to begin with; then, for all other rows :math:`g_j` in a random
    order, with :math:`\phi_{ij}` the cosine of :math:`g_i'` and :math:`g_j` and
    :math:`\hat\phi_{ij}` its target: where :math:`\phi_{ij} < \hat\phi_{ij}`, a multiple of
    :math:`g_j` is added to :math:`g_i'` that gives the two the cosine :math:`\hat\phi_{ij}`; and
    then, for the next call,

    .. math:: \hat\phi_{ij} \leftarrow (1 - \beta) \hat\phi_{ij} + \beta \phi_{ij},
        \qquad \mathcal{A}(J) = \sum_i g_i'.

    The targets are 0 at first, so that the first call does as :class:`~jd_aggregators.PCGrad`.
    Where :math:`g_i'` or :math:`g_j` is zero there is no cosine: both the row and the target stay.
    Source: Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task Optimization in
    Massively Multilingual Models", ICLR 2021, Algorithm 1.

    The targets are part of the ``state_dict``; ``reset()`` forgets them, as another number of rows
    requires.

    :param beta: How much the last cosine counts in the target, in [0, 1].
    :param eps: The least :math:`1 - \hat\phi_{ij}^2` that is divided by; rows whose cosine is as
        close to 1, and those whose target is to -1, stay. It is compared with cosines, so that the
        scale of the gradients plays no part; below the rounding of the arithmetic it has no effect.
    :param generator: A generator on the CPU, for orders that can be repeated. Default: one that is
        seeded from the system; the global random state is not used.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``beta`` or ``eps`` is out of range, or ``generator`` is on another
        device; when called, if the number of rows has changed.

    >>> import torch
    >>> from torchjd.aggregation import GradVac
    >>> aggregator = GradVac(beta=0.5)
    >>> aggregator(torch.tensor([[1.0, 0.0], [0.6, 0.8]])), aggregator(torch.eye(2))
    (tensor([1.6000, 0.8000]), tensor([1.3145, 1.3145]))
    """

    weighting: GradVacWeighting
    traits = Traits(
        linear_under_scaling=True,
        state="m^2",
        random=True,
        cost="m^2 n + m^3",
        on_device=True,
    )
    beta = OfWeighting(GradVacWeighting.beta)
    eps = OfWeighting(GradVacWeighting.eps)
    generator = OfWeighting(GradVacWeighting.generator)

    def __init__(
        self,
        beta: float = 0.5,
        eps: float = 1e-8,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(GradVacWeighting(beta, eps, generator=generator))
