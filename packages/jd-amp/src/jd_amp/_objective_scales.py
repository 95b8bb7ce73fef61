"""One scale for each objective: what they are, and how they follow what overflows."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Neither a scale nor its reciprocal leaves the normal numbers of float32: both are exact then, and
# a scale that has come down can grow again, which it could not from zero.
_LOWEST = 2.0**-126
_HIGHEST = 2.0**126


class ObjectiveScales:
    """The scales of m objectives, of which m is that of the first pass.

    :param initial: The scale that each begins with.
    :raises TypeError: If it is no number.
    :raises ValueError: If it is not positive and finite.

    :ivar values: The scales, of shape ``[m]``; None before the first pass.
    :ivar overflowed: For each objective, whether a pass since the last update had something that is
        not finite, of shape ``[m]``; None if there was no pass.
    """

    def __init__(self, initial: float) -> None:
        self.initial = float(_checked(initial, "init_scale"))
        self.initial_tracker = 0
        self.values: Tensor | None = None
        self.overflowed: Tensor | None = None
        self._trackers: Tensor | None = None

    def for_pass(self, m: int, device: torch.device, name: str) -> Tensor:
        """Return the scales for a pass over ``m`` objectives, on ``device``.

        :param name: What the user calls the objectives.
        :raises ValueError: If an earlier pass was over another number.
        """
        if self.values is None:
            return torch.full((m,), self.initial, dtype=torch.float32, device=device)
        if len(self.values) != m:
            raise ValueError(
                f"`{name}` must be the {len(self.values)} objectives that this scaler has a scale "
                f"for. Got {m}. Use one JacobianScaler for each set of objectives."
            )
        return self.values.to(device)

    def record(self, scales: Tensor, finite: Tensor) -> None:
        """Note a pass with ``scales``; where ``finite`` is False, the objective has overflowed."""
        # Only now: the number of objectives in a call that was refused binds nobody.
        self.values = scales
        if self._trackers is None:
            self._trackers = torch.full_like(scales, self.initial_tracker, dtype=torch.int32)
        over = ~finite.to(scales.device)
        before = self.overflowed
        self.overflowed = over if before is None else over | before.to(scales.device)

    def any_overflowed(self) -> Tensor | None:
        """Return whether an objective has overflowed since the last update; None without a pass."""
        return None if self.overflowed is None else self.overflowed.any()

    def update(self, growth_factor: float, backoff_factor: float, growth_interval: int) -> None:
        """Lower the scales that overflowed; raise those that did not for ``growth_interval`` times.

        Nothing is read on the host. Without a pass since the last update, nothing changes.
        """
        if self.values is None or self._trackers is None or self.overflowed is None:
            return
        trackers = torch.where(self.overflowed, 0, self._trackers.to(self.values.device) + 1)
        grow = trackers >= growth_interval  # which may have been set to less than there were
        grown = (self.values * growth_factor).clamp(max=_HIGHEST)
        # What was set higher stays as it is.
        values = torch.where(grow, torch.maximum(grown, self.values), self.values)
        lowered = (self.values * backoff_factor).clamp(min=_LOWEST)
        self.values = torch.where(self.overflowed, lowered, values)
        self._trackers = torch.where(grow, 0, trackers).to(torch.int32)
        self.overflowed = None

    def set_all(self, new_scale: float | Tensor) -> None:
        """Set the scale of every objective.

        :param new_scale: A number, or a tensor of one element.
        :raises TypeError: If it is neither.
        :raises ValueError: If it is not positive and finite, where that can be seen without waiting
            for a device.
        """
        value = _checked(new_scale, "new_scale")
        if self.values is not None:
            self.values = value.to(self.values).expand_as(self.values).clone()
        else:
            self.initial = float(value)
        self.overflowed = None

    def smallest(self) -> float:
        """Return the smallest scale."""
        return self.initial if self.values is None else float(self.values.amin())

    def state(self) -> dict[str, Any]:
        """Return the scale of each objective as a number, and the least under stock names."""
        trackers = None if self._trackers is None else self._trackers.tolist()
        return {
            "scale": self.smallest(),
            "_growth_tracker": self.initial_tracker if trackers is None else min(trackers),
            "scales": None if self.values is None else self.values.tolist(),
            "growth_trackers": trackers,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``: that of :meth:`state`, or of a stock scaler.

        The scale of the latter becomes that of every objective, however many there are going to be.

        :raises ValueError: If it is not positive and finite, as when training has collapsed.
        """
        self.initial = float(_checked(state["scale"], "state_dict['scale']"))
        self.initial_tracker = int(state["_growth_tracker"])
        scales, trackers = state.get("scales"), state.get("growth_trackers")
        self.values = None if scales is None else torch.tensor(scales, dtype=torch.float32)
        self._trackers = None if trackers is None else torch.tensor(trackers, dtype=torch.int32)
        self.overflowed = None


def _checked(scale: object, name: str) -> Tensor:
    is_number = isinstance(scale, int | float) and not isinstance(scale, bool)
    value = torch.tensor(scale, dtype=torch.float32) if is_number else scale
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
        found = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(scale)
        raise TypeError(
            f"`{name}` must be a number, or a floating-point tensor of one element: it becomes the "
            f"scale of every objective. Got {found}."
        )
    if value.device.type == "cpu" and not (value.isfinite() & (value > 0)).all():
        raise ValueError(f"`{name}` must be positive and finite. Got {float(value)}.")
    return value.detach().reshape(())
