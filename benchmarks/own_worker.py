"""Measures what only our library has: whole batches, and active sets that are remembered."""

from typing import Any

import serving
import torch
from clock import seconds_a_call
from families import Draws
from torch import Tensor

from torchjd import linalg
from torchjd.aggregation import UPGradWeighting

_STEP = 0.01
_STEPS = 8


class OwnWorker:
    """Answers requests about one batch, or one sequence of Gramians."""

    def __init__(self) -> None:
        self._batch = torch.empty(0)
        self._unit = torch.empty(0)
        self._sequences: list[list[Tensor]] = []
        self._projector: str | None = None

    def load_batch(self, size: int, m: int, device: str, dtype: str) -> None:
        """Build Gramians of shape ``[size, m, m]``, and the combinations to project with each."""
        # glibc returns what it got for 4 MB to the system, and has it mapped anew the next time,
        # until a larger tensor has been freed: which a process that trains has done long ago.
        torch.ones(1 << 21, dtype=torch.float64).sum()
        case = Draws("gaussian", m, size, dtype, device, None)
        self._batch = torch.stack([case.gramian(matrix) for matrix in case.jacobians()])
        self._unit = torch.eye(m, dtype=self._batch.dtype, device=device)

    def measure_batch(self, what: str, calls: int) -> float:
        """Return the seconds of all projections with the batch.

        :param what: ``"batch"``, ``"loop"``, or ``"default"``: a loop over the default projector.
        :param calls: How often.
        """
        projector = linalg.ExactProjector() if what == "default" else linalg.ResidentProjector()
        units = self._unit.expand_as(self._batch).contiguous()
        if what == "batch":
            return seconds_a_call(lambda: projector(units, self._batch), calls)
        return seconds_a_call(
            lambda: [projector(self._unit, gramian) for gramian in self._batch], calls
        )

    def load_sequence(self, **case: Any) -> None:
        """Build, for each draw, the Gramians of a Jacobian whose rows move by 1% a step."""
        draws = Draws(**case)
        self._projector = draws.projector
        self._sequences = [
            [draws.gramian(moved) for moved in moves(matrix)] for matrix in draws.jacobians()
        ]

    def measure_sequence(self, what: str, draw: int, calls: int) -> float:
        """Return the seconds of a step, the first one left out.

        :param what: ``"cold"`` or ``"warm"``.
        :param draw: Which sequence.
        :param calls: How often to go through it.
        """
        first, *others = self._sequences[draw]
        weigh = self._weighting(what)
        total = 0.0
        for _ in range(calls):
            weigh.reset()
            weigh(first)
            total += seconds_a_call(lambda: [weigh(gramian) for gramian in others])
        return total / calls / len(others)

    def last_weights(self, what: str, draw: int) -> list[float]:
        """Return the weights at the end of a sequence."""
        weigh = self._weighting(what)
        for gramian in self._sequences[draw]:
            result = weigh(gramian)
        weights: list[float] = result.double().tolist()
        return weights

    def _weighting(self, what: str) -> UPGradWeighting:
        name = self._projector
        chosen = None if name is None else getattr(linalg, name)()
        return UPGradWeighting(projector=chosen, warm_start=what == "warm")


def moves(matrix: Tensor) -> list[Tensor]:
    """Return a Jacobian and what it becomes, each row moved by 1% of its length a step."""
    generator = torch.Generator().manual_seed(len(matrix))
    sequence = [matrix]
    for _ in range(_STEPS):
        last = sequence[-1]
        change = torch.randn(last.shape, generator=generator, dtype=last.dtype)
        scale = _STEP * last.norm(dim=1, keepdim=True) / change.norm(dim=1, keepdim=True)
        sequence.append(last + scale * change)
    return sequence


if __name__ == "__main__":
    serving.serve(OwnWorker())
