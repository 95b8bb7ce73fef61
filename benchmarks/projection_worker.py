"""One side of the comparison of weights from Gramians; it runs in either environment."""

from collections.abc import Callable
from typing import Any

import serving
import torch
from clock import seconds_a_call
from families import Draws
from torch import Tensor

import torchjd.aggregation

# Whatever is imported at a first call is imported before a clock is read.
_WARMUPS = 3


class ProjectionWorker:
    """Answers requests about the Gramians of one family and size."""

    def __init__(self) -> None:
        self._gramians: list[Tensor] = []
        self._methods: dict[str, Callable[[Tensor], Tensor]] = {}
        self._results: dict[int, Tensor] = {}
        self._error = ""

    def about(self) -> dict[str, Any]:
        """Say what is installed here, and whether it can use a GPU."""
        return {**serving.about(), "cuda": torch.cuda.is_available()}

    def load(self, **case: Any) -> list[float]:
        """Build the Gramians; return the trace of each, to be compared with the other side's."""
        draws = Draws(**case)
        matrices = draws.jacobians()
        self._gramians = [draws.gramian(matrix) for matrix in matrices]
        self._methods = _methods(draws.projector)
        self._results = {}
        small = torch.eye(2, dtype=self._gramians[0].dtype, device=draws.device)
        for method in self._methods.values():
            for _ in range(_WARMUPS):
                method(small)
        return [float((matrix * matrix).sum()) for matrix in matrices]

    def measure(self, method: str, draw: int, calls: int) -> float | None:
        """Return the seconds of one of ``calls`` calls; None if one raises."""
        gramian, weigh = self._gramians[draw], self._methods[method]
        results: list[Tensor] = []
        try:
            taken = seconds_a_call(lambda: results.append(weigh(gramian)), calls)
        except Exception as error:
            self._error = type(error).__name__
            return None
        self._results[draw] = results[-1]
        return taken

    def weights(self, draw: int) -> list[float]:
        """Return the weights that the last measured call returned."""
        weights: list[float] = self._results[draw].double().tolist()
        return weights

    def error(self) -> str:
        """Return the name of what the last call that raised did raise."""
        return self._error


def _methods(projector: str | None) -> dict[str, Callable[[Tensor], Tensor]]:
    if not serving.is_ours():
        peer: Any = torchjd.aggregation
        return {"upgrad": peer.UPGradWeighting(), "min-norm": peer.MGDAWeighting()}
    from torchjd import linalg
    from torchjd.aggregation import UPGradWeighting

    chosen = None if projector is None else getattr(linalg, projector)()
    return {"upgrad": UPGradWeighting(projector=chosen), "min-norm": linalg.MinNormSolver()}


if __name__ == "__main__":
    serving.serve(ProjectionWorker())
