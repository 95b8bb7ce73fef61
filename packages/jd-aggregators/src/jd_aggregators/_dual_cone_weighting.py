"""What the methods that project onto the dual cone have in common."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting
from torchjd.linalg import DualConeProjector, PSDMatrix

from ._preference import preference
from ._projection import ExactProjector
from ._settings import Configured, Flag, OfWeighting, Preference, Setting


class Projector(Setting[DualConeProjector]):
    """A solver of projections onto the dual cone; None for the exact one."""

    def checked(self, value: Any) -> DualConeProjector:
        """Return ``value``, or the exact solver for None."""
        if value is not None and not isinstance(value, DualConeProjector):
            raise TypeError(
                f"`{self.name}` must be a DualConeProjector or None. "
                f"Got {value.__name__ if isinstance(value, type) else type(value).__name__}. "
                "Pass an instance, for instance `ExactProjector()`."
            )
        return ExactProjector() if value is None else value


class WarmStart(Flag):
    """Whether the active sets of the last call start the next."""

    def __set__(self, method: Any, value: bool) -> None:
        super().__set__(method, value)
        if not value:
            method.reset()


class DualConeWeighting(Configured, GramianWeighting):
    """Weights that come from projections onto the dual cone of the rows.

    :param pref_vector: How much each objective counts, of shape ``[m]``. Default: the mean.
    :param projector: The solver. Default: :class:`~jd_aggregators.ExactProjector`.
    :param warm_start: Whether to hand the solver the active sets of the last call. They are part of
        the ``state_dict``, and dropped when the number of rows changes.
    """

    degree = 0.0
    pref_vector = Preference("How much each objective counts; None for the mean.")
    projector = Projector("The solver.")
    warm_start = WarmStart("Whether the active sets of the last call start the next.")

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
        self.projector = projector  # type: ignore[assignment]  # None is replaced
        self.warm_start = warm_start

    def reset(self) -> None:
        """Forget the active sets of the last call."""
        self._active = None

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        weights = self._weigh(preference(self.pref_vector, gramian), gramian)
        return weights.to(torch.promote_types(gramian.dtype, torch.float32))

    def _project(self, U: Tensor, G: Tensor) -> Tensor:
        """Return the weights of the projections, and remember their active sets if asked to."""
        if not self.warm_start:
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
        if self.warm_start:
            saved = state_dict.get(f"{prefix}_active")
            self._active = None if saved is None else torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @abstractmethod
    def _weigh(self, preference: Tensor, gramian: Tensor) -> Tensor:
        """Return the weights for a preference of shape ``[m]``."""


class DualConeAggregator(GramianWeightedAggregator):
    """An aggregator whose weights come from a :class:`DualConeWeighting`."""

    weighting: DualConeWeighting
    pref_vector = OfWeighting(DualConeWeighting.pref_vector)
    projector = OfWeighting(DualConeWeighting.projector)
    warm_start = OfWeighting(DualConeWeighting.warm_start)

    def reset(self) -> None:
        """Forget the active sets of the last call."""
        self.weighting.reset()
