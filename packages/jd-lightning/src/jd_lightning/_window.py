"""The micro-batches whose Jacobians add up to one aggregation."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ._objectives import Objectives
from ._pending import FitStep


@dataclass
class Window:
    """What is known of the micro-batches since the gradients were cleared.

    :ivar start: The first of them.
    :ivar names: Of the objectives, once there was a micro-batch with some that have names.
    :ivar values: Of the objectives, of shape ``[m]``, one for each such micro-batch.
    """

    start: FitStep
    names: tuple[str, ...] = ()
    values: list[Tensor] = field(default_factory=list)

    def add(self, objectives: Objectives) -> None:
        """Add a micro-batch.

        :raises ValueError: If its rows are not those of the others.
        """
        if objectives.per_sample:
            return  # aggregated by itself
        if self.values and objectives.names != self.names:
            raise ValueError(
                "`losses` must have the same names in the same order in all batches whose "
                f"gradients accumulate, since row is added to row. Got {list(objectives.names)} "
                f"after {list(self.names)}."
            )
        self.names = objectives.names
        self.values.append(objectives.values())

    def mean_values(self) -> Tensor:
        """Return the values of the objectives, averaged over the micro-batches."""
        return torch.stack(self.values).mean(dim=0)
