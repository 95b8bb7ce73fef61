"""GradOPS: conflicting gradients, each without its part in the span of the others."""

from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._arithmetic import weigh
from ._settings import Configured, Number, OfWeighting
from ._spectrum import Array, noise_of, spectrum, unit_rows

# The part of a unit row in the null space, squared, up to which it counts as independent of the
# others: null vectors are known up to rounding over the least eigenvalue that is kept.
_NOTHING = 1e-12


class GradOPSWeighting(Configured, GramianWeighting):
    r"""Weights of the rows, each that conflicts projected off the span of the others.

    For a row :math:`g_i` with :math:`g_i \cdot g_j < 0` for some :math:`j`,

    .. math:: g_i' = g_i - \mathrm{proj}_{\mathrm{span}\{g_j : j \ne i\}}(g_i)
        = \frac{1}{(G^+)_{ii}} \sum_j (G^+)_{ij} \, g_j, \qquad G = J J^\top,

    or 0 if it is in that span; for any other, :math:`g_i' = g_i`. The weights are those of
    :math:`\sum_i w_i g_i'`, where :math:`w_i` is in proportion to :math:`r_i^\alpha`, of mean 1,
    with :math:`r_i = g_i \cdot \sum_j g_j' \,/\, \|g_i\|`: the speed of objective :math:`i`.
    Objectives with :math:`r_i = 0`, whose :math:`g_i'` is 0, do not count. Source: Zhu et al.,
    "Gradient Deconfliction via Orthogonal Projections onto Subspaces For Multi-task Learning",
    WSDM 2025, section 3.

    :param alpha: The exponent :math:`\alpha`: above 0 for the objectives that are ahead, below 0
        for those that lag behind; 0 for the sum.
    :raises TypeError: If ``alpha`` is no number.
    :raises ValueError: If ``alpha`` is not finite.

    >>> import torch
    >>> from torchjd.aggregation import GradOPSWeighting
    >>> GradOPSWeighting()(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]))
    tensor([2.0000, 1.5000])
    """

    degree = 0.0
    alpha = Number("How much the objectives that are ahead count; less than 0 for the others.")

    def __init__(self, alpha: float = 0.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        noise = noise_of(len(gramian), gramian.dtype)

        def compute(xp: Any, G: Array, _: Array) -> Array:
            C, lengths, inverse = unit_rows(xp, G)
            _, vectors, kept, inverted = spectrum(xp, C, noise)
            inverted = (vectors * inverted) @ vectors.T
            conflicts = (noise + C < 0.0).any(1)
            outside = (vectors * vectors * ~kept).sum(1) <= _NOTHING
            projected = conflicts & outside
            left = projected * lengths / xp.where(projected, inverted.diagonal(), 1.0)
            whole = lengths * ~conflicts
            if self.alpha:
                shares = self._shares(xp, left + whole @ C, noise * lengths.max())
                left, whole = shares * left, shares * whole
            return inverse * (whole + left @ inverted)

        return weigh(compute, gramian)

    def _shares(self, xp: Any, speeds: Array, nothing: Array) -> Array:
        """Return what is in proportion to a power of the speeds, of mean 1 where they count."""
        counts = speeds > nothing
        scores = self.alpha * xp.log(xp.where(counts, speeds, 1.0))
        top = xp.where(counts, scores, -torch.inf).max()
        # Relative to the largest, powers stay within range.
        powers = counts * xp.exp(xp.where(counts, scores - top, 0.0))
        total = powers.sum()
        return powers * (counts.sum() / (total + (total == 0)))


class GradOPS(GramianWeightedAggregator):
    r"""The sum of the rows, each that conflicts projected off the span of the others.

    .. math:: \mathcal{A}(J) = \sum_i w_i \, g_i', \qquad
        g_i' = g_i - \mathrm{proj}_{\mathrm{span}\{g_j : j \ne i\}}(g_i)
        \text{ if } g_i \cdot g_j < 0 \text{ for some } j, \quad g_i' = g_i \text{ otherwise,}

    for the rows :math:`g_i` of :math:`J`, of shape ``[m, n]``. No row conflicts with any
    :math:`g_j'`, and so none with the result: :math:`g_i \cdot \mathcal{A}(J) \ge 0`. A row that
    conflicts and depends on the others has :math:`g_i' = 0`. The weights :math:`w_i`, of mean 1,
    are in proportion to :math:`r_i^\alpha`, with
    :math:`r_i = g_i \cdot \sum_j g_j' \,/\, \|g_i\|`. By default they are 1, and the result is
    linear under scaling of a row. For two rows that is PCGrad. Source: Zhu et al., "Gradient
    Deconfliction via Orthogonal Projections onto Subspaces For Multi-task Learning", WSDM 2025,
    section 3.

    :param alpha: The exponent :math:`\alpha`: above 0 for the objectives that are ahead, below 0
        for those that lag behind; 0 for the sum.
    :raises TypeError: If ``alpha`` is no number.
    :raises ValueError: If ``alpha`` is not finite.

    .. note::
        The sign of a product decides about a projection, so that the method is discontinuous:
        products that are rounding count as 0, and rows as dependent that are so up to the rounding
        of float32. Objectives with :math:`r_i = 0` are left out of the mean.

    >>> import torch
    >>> from torchjd.aggregation import GradOPS
    >>> GradOPS()(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0.5000, 1.5000])
    """

    weighting: GradOPSWeighting
    traits = Traits(
        no_conflict=True,
        permutation=True,
        linear_under_scaling=True,
        cost="m^2 n + m^3",
        compiles=True,
    )
    alpha = OfWeighting(GradOPSWeighting.alpha)

    def __init__(self, alpha: float = 0.0) -> None:
        super().__init__(GradOPSWeighting(alpha))
