"""Aggregators that weigh the rows by what their Gramian says."""

from torchjd.linalg import PSDMatrix

from ._weighted_aggregator import WeightedAggregator
from ._weighting import Weighting


class GramianWeightedAggregator(WeightedAggregator):
    r"""Aggregate as :math:`w^\top J`, with weights from the Gramian :math:`J J^\top`.

    :param gramian_weighting: What gives the weights.
    :raises TypeError: If ``gramian_weighting`` does not work from a Gramian.

    >>> import torch
    >>> from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting
    >>> class InverseSquare(GramianWeighting):
    ...     def forward(self, gramian, /):
    ...         return 1.0 / gramian.diagonal()
    >>> GramianWeightedAggregator(InverseSquare())(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([0.5000, 0.2500])
    """

    def __init__(self, gramian_weighting: Weighting[PSDMatrix]) -> None:
        if not isinstance(gramian_weighting, Weighting) or gramian_weighting.needs == "jacobian":
            found = type(gramian_weighting).__name__
            raise TypeError(
                f"`gramian_weighting` must be a GramianWeighting. Got {found}. "
                "A weighting that reads the Jacobian belongs in a WeightedAggregator."
            )
        super().__init__(gramian_weighting)

    @property
    def gramian_weighting(self) -> Weighting[PSDMatrix]:
        """The weighting that works from the Gramian."""
        return self.weighting
