"""What the methods that project onto the dual cone have in common."""

from abc import abstractmethod
from typing import Any

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
    :param warm_start: Whether to hand the solver the active sets of the last call. They are part of
        the ``state_dict``, and dropped when the number of rows changes.
    """

    _active: Tensor | None

    def __init__(
        self,
        pref_vector: Tensor | None = None,
        projector: DualConeProjector | None = None,
        *,
        warm_start: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("_active", None)
        self.pref_vector = pref_vector
        self.projector = projector
        self.warm_start = warm_start

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

    @property
    def warm_start(self) -> bool:
        """Whether the active sets of the last call start the next."""
        return self._warm_start

    @warm_start.setter
    def warm_start(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"`warm_start` must be a bool. Got {type(value).__name__}.")
        self._warm_start = value
        if not value:
            self.reset()

    def reset(self) -> None:
        """Forget the active sets of the last call."""
        self._active = None

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        weights = self._weigh(preference(self.pref_vector, gramian), gramian)
        return weights.to(torch.promote_types(gramian.dtype, torch.float32))

    def _project(self, U: Tensor, G: Tensor) -> Tensor:
        """Return the weights of the projections, and remember their active sets if asked to."""
        if not self._warm_start:
            return self.projector(U, G)
        last = self._active
        if last is not None:  # a state that was loaded may be elsewhere
            last = last.to(U.device) if last.shape == U.shape else None
        found = self.projector.solve(U, G, start=last)
        finite = torch.isfinite(found.weights).all()
        kept = torch.zeros_like(found.active) if last is None else last
        self._active = torch.where(finite, found.active, kept)
        return found.weights

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The sets are of the size of a problem that this object may not have seen yet.
        if self._warm_start:
            saved = state_dict.get(f"{prefix}_active")
            self._active = None if saved is None else torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @abstractmethod
    def _weigh(self, preference: Tensor, gramian: Tensor) -> Tensor:
        """Return the weights for a preference of shape ``[m]``."""

    def extra_repr(self) -> str:
        """Return the parameters that are not the default."""
        given = [] if self.pref_vector is None else [f"pref_vector={self.pref_vector.tolist()}"]
        if repr(self.projector) != "ExactProjector()":
            given.append(f"projector={self.projector!r}")
        if self.warm_start:
            given.append("warm_start=True")
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

    @property
    def warm_start(self) -> bool:
        """Whether the active sets of the last call start the next."""
        return self.weighting.warm_start

    @warm_start.setter
    def warm_start(self, value: bool) -> None:
        self.weighting.warm_start = value

    def reset(self) -> None:
        """Forget the active sets of the last call."""
        self.weighting.reset()

    def extra_repr(self) -> str:
        """Return the parameters that are not the default."""
        return self.weighting.extra_repr()
