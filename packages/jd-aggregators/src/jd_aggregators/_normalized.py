"""Rows of unit length, for any weighting."""

from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import GeneralizedWeighting, Traits, Weighting

from ._precision import widened
from ._settings import Choice
from ._wrapping import ChangedWeighting


class NormalizedWeighting(ChangedWeighting):
    r"""Let another weighting see rows of unit length, and combine those.

    .. math:: w_i = s \, \frac{v_i}{\|g_i\|}, \qquad \text{so that} \quad
        \sum_i w_i g_i = s \sum_i v_i \frac{g_i}{\|g_i\|}

    with :math:`v` of shape ``[m]`` the weights that the wrapped weighting gives to the unit rows:
    it gets their Gramian, :math:`G_{ij} / (\|g_i\| \|g_j\|)`, or the rows themselves. Rows of zeros
    stay zeros, and get the weight 0. With s the mean length the update shrinks along with the
    gradients, as without normalisation; with 1 it does not, and steps of a constant size do not
    come to rest. Where the wrapped weighting harms no objective, this one does not either. Source:
    Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", Comptes
    Rendus Mathematique, 2012, for unit gradients; the mean length is of this library.

    :param weighting: What weighs the unit rows.
    :param scale: ``"mean"`` for :math:`s = \frac1m \sum_i \|g_i\|`, so that
        :math:`\mathcal{A}(c J) = c \mathcal{A}(J)`; ``"none"`` for 1, so that
        :math:`\mathcal{A}(c J) = \mathcal{A}(J)`.
    :raises TypeError: If ``weighting`` is no weighting, or works from a Gramian that does not tell
        the lengths: across batches, or a generalized one.
    :raises ValueError: If ``scale`` is another name.

    >>> import torch
    >>> from torchjd.aggregation import GramianWeightedAggregator, MeanWeighting
    >>> from torchjd.aggregation import NormalizedWeighting
    >>> J = torch.tensor([[10.0, 0.0], [0.0, 2.0]])
    >>> GramianWeightedAggregator(NormalizedWeighting(MeanWeighting()))(J)
    tensor([3., 3.])
    >>> GramianWeightedAggregator(NormalizedWeighting(MeanWeighting(), scale="none"))(J)
    tensor([0.5000, 0.5000])
    """

    traits = Traits(cost="m^2 and that of the wrapped weighting", on_device=True, compiles=True)
    scale = Choice("How long the update is.", ("mean", "none"))

    def __init__(self, weighting: Weighting[Any], *, scale: str = "mean") -> None:
        super().__init__(weighting)
        if weighting.needs == "cross gramian" or isinstance(weighting, GeneralizedWeighting):
            raise TypeError(
                "`weighting` must work from the Jacobian or its Gramian of shape [m, m], which "
                f"tell the lengths of the rows. Got {type(weighting).__name__}."
            )
        self.scale = scale
        self._sees_rows = weighting.needs == "jacobian"

    @property
    def needs(self) -> Any:
        """What the wrapped weighting reads, and at least the Gramian."""
        return "jacobian" if self._sees_rows else "gramian"

    @property
    def degree(self) -> float:
        """-1, or 0 with the mean length: unit rows have no scale."""
        return 0.0 if self.scale == "mean" else -1.0

    def forward(self, stat: Tensor, /, *, losses: Tensor | None = None) -> Tensor:
        """Return the weights, of shape ``[m]``.

        They are of the dtype of the Gramian or float32. From rows they are of float64 (float32 on
        devices without): the ratio of two lengths may be beyond the range of the dtype of both.
        """
        matrix = widened(stat)
        lengths = matrix.norm(dim=1) if self._sees_rows else matrix.diagonal().clamp_min(0.0).sqrt()
        zero = lengths == 0
        inverse = torch.where(zero, 0.0, 1.0 / lengths) + (lengths - lengths)
        units = matrix * inverse[:, None]
        if not self._sees_rows:
            units = units * inverse
        dtype = torch.promote_types(stat.dtype, torch.float32)
        # A Gramian keeps its dtype: the solvers judge by that how much of it is rounding.
        units = units.to(dtype if self._sees_rows else stat.dtype)
        weights = self.weighting(units, losses=losses).to(matrix.dtype) * inverse
        weights = weights * lengths.mean() if self.scale == "mean" else weights
        return weights if self._sees_rows else weights.to(dtype)

    def check(self, stat: object) -> Tensor:
        matrix = super().check(stat)
        if not self._sees_rows and matrix.shape[0] != matrix.shape[1]:
            raise ValueError(
                f"`gramian` must be of shape [m, m]. Got shape {list(matrix.shape)}. From a "
                "Jacobian `J`, pass `J @ J.T`."
            )
        return matrix
