"""PCGrad: each gradient, projected in turn off those that it conflicts with."""

from math import nan

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._pairing import Pairing
from ._precision import finished, widened
from ._settings import OfWeighting
from ._surgery_small import FEW, all_finite, project_rows


class PCGradWeighting(Pairing, GramianWeighting):
    r"""Weights of the sum of the rows, each projected in turn off those that it conflicts with.

    For each row, :math:`g_i^{PC} = g_i` to begin with; then, for all other rows :math:`g_j` in a
    random order,

    .. math:: g_i^{PC} \leftarrow g_i^{PC}
        - \frac{\min(g_i^{PC} \cdot g_j, \; 0)}{\|g_j\|^2} \, g_j.

    The weights are those of :math:`\sum_i g_i^{PC}`, from :math:`G = J J^\top` alone. Rows that are
    zero conflict with none. Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS
    2020, Algorithm 1.

    :param generator: A generator on the CPU, for orders that can be repeated. Default: one that is
        seeded from the system; the global random state is not used.
    :raises TypeError: If ``generator`` is no generator.
    :raises ValueError: If it is on another device.

    >>> import torch
    >>> from torchjd.aggregation import PCGradWeighting
    >>> J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    >>> PCGradWeighting()(J @ J.T)
    tensor([2.2222, 1.5789])
    """

    degree = 0.0

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__(generator)

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``."""
        G = widened(gramian)
        if G.device.type == "cpu" and len(G) <= FEW:
            return self._of_few(G.tolist()).to(torch.promote_types(gramian.dtype, torch.float32))
        partners = self.partners(G)
        squares = G.diagonal()
        # Of a row of zeros, all products are 0, and anything can divide them.
        divisors = torch.where(squares > 0, squares, 1.0).take(partners)
        products, removed = G.clone(), []
        # No row waits for another one: a step is that of all rows, each with a partner of its own.
        for partner, divisor in zip(partners.unbind(), divisors.unbind(), strict=True):
            conflict = products.gather(1, partner[:, None]).clamp_(max=0.0)
            part = conflict.div_(divisor[:, None])
            products.addcmul_(part, G.index_select(0, partner), value=-1.0)
            removed.append(part)
        weights = torch.ones_like(squares)
        if removed:
            weights.index_add_(0, partners.flatten(), torch.cat(removed)[:, 0], alpha=-1.0)
        return finished(weights, gramian)

    def _of_few(self, G: list[list[float]]) -> Tensor:
        orders = self.orders(len(G))
        weights = project_rows(G, orders) if all_finite(G) else [nan] * len(G)
        return torch.tensor(weights, dtype=torch.float64, device="cpu")


class PCGrad(GramianWeightedAggregator):
    r"""The sum of the rows of :math:`J`, each projected in turn off those that it conflicts with.

    For each row, :math:`g_i^{PC} = g_i` to begin with; then, for all other rows :math:`g_j` in a
    random order,

    .. math:: g_i^{PC} \leftarrow g_i^{PC}
        - \frac{\min(g_i^{PC} \cdot g_j, \; 0)}{\|g_j\|^2} \, g_j,
        \qquad \mathcal{A}(J) = \sum_i g_i^{PC}.

    Of two rows, neither conflicts with the result; of more, some may, as a projection can undo an
    earlier one. Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
    Algorithm 1.

    :param generator: A generator on the CPU, for orders that can be repeated. Default: one that is
        seeded from the system; the global random state is not used.
    :raises TypeError: If ``generator`` is no generator.
    :raises ValueError: If it is on another device.

    >>> import torch
    >>> from torchjd.aggregation import PCGrad
    >>> PCGrad()(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([0.5848, 3.8012, 3.8012])
    """

    weighting: PCGradWeighting
    traits = Traits(linear_under_scaling=True, random=True, cost="m^2 n + m^3", on_device=True)
    generator = OfWeighting(PCGradWeighting.generator)

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__(PCGradWeighting(generator=generator))
