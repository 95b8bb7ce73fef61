"""What the methods that project onto the dual cone have in common."""

from abc import abstractmethod

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting
from torchjd.linalg import DualConeProjector, PSDMatrix

from ._preference import check_preference, preference
from ._projection import ExactProjector


class DualConeWeighting(GramianWeighting):
    """Weights that come from projections onto the dual cone of the rows.

    :param pref_vector: How much each objective counts, of shape ``[m]``. Default: the mean.
    :param projector: The solver. Default: :class:`~jd_aggregators.ExactProjector`.
    """

    def __init__(
        self, pref_vector: Tensor | None = None, projector: DualConeProjector | None = None
    ) -> None:
        super().__init__()
        self.pref_vector = pref_vector
        self.projector = projector

    @property
    def pref_vector(self) -> Tensor | None:
        """How much each objective counts; None for the mean."""
        return self._pref_vector

    @pref_vector.setter
    def pref_vector(self, value: Tensor | None) -> None:
        self._pref_vector = check_preference(value)

    @property
    def projector(self) -> DualConeProjector:
        """The solver."""
        return self._projector

    @projector.setter
    def projector(self, value: DualConeProjector | None) -> None:
        if value is not None and not isinstance(value, DualConeProjector):
            raise TypeError(
                "`projector` must be a DualConeProjector or None. "
                f"Got {value.__name__ if isinstance(value, type) else type(value).__name__}. "
                "Pass an instance, for instance `ExactProjector()`."
            )
        self._projector = ExactProjector() if value is None else value

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        weights = self._weigh(preference(self.pref_vector, gramian), gramian)
        return weights.to(torch.promote_types(gramian.dtype, torch.float32))

    @abstractmethod
    def _weigh(self, preference: Tensor, gramian: Tensor) -> Tensor:
        """Return the weights for a preference of shape ``[m]``."""

    def extra_repr(self) -> str:
        """Return the parameters that are not the default."""
        given = [] if self.pref_vector is None else [f"pref_vector={self.pref_vector.tolist()}"]
        if type(self.projector) is not ExactProjector:
            given.append(f"projector={self.projector!r}")
        return ", ".join(given)


class DualConeAggregator(GramianWeightedAggregator):
    """An aggregator whose weights come from a :class:`DualConeWeighting`."""

    weighting: DualConeWeighting

    @property
    def pref_vector(self) -> Tensor | None:
        """How much each objective counts; None for the mean."""
        return self.weighting.pref_vector

    @pref_vector.setter
    def pref_vector(self, value: Tensor | None) -> None:
        self.weighting.pref_vector = value

    @property
    def projector(self) -> DualConeProjector:
        """The solver."""
        return self.weighting.projector

    @projector.setter
    def projector(self, value: DualConeProjector | None) -> None:
        self.weighting.projector = value

    def extra_repr(self) -> str:
        """Return the parameters that are not the default."""
        return self.weighting.extra_repr()
