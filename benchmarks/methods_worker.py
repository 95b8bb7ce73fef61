"""One side of the comparison of methods; it runs in either environment."""

from collections.abc import Callable
from typing import Any

import serving
import torch
from clock import seconds_a_call
from torch import Tensor

import torchjd.aggregation
import torchjd.scalarization

_WARMUPS = 3
_NAMES = {"A": torchjd.aggregation, "S": torchjd.scalarization, "torch": torch}


class MethodsWorker:
    """Answers requests about one method at a time."""

    def __init__(self) -> None:
        self._call: Callable[[], object] = lambda: None
        self._error = ""

    def about(self) -> dict[str, str]:
        """Say what is installed here."""
        return serving.about()

    def load(self, make: str, stat: str, m: int, n: int, seed: int) -> bool:
        """Make a method and what it is called with; return whether that succeeded."""
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(m, n, generator=generator)
        other = matrix + 0.1 * torch.randn(m, n, generator=generator)
        try:
            method = eval(make, {**_NAMES, "m": m})
            self._call = _bound(method, stat, matrix, other)
            for _ in range(_WARMUPS):
                self._call()
        except Exception as error:
            self._error = f"{type(error).__name__}: {error}"
            return False
        return True

    def measure(self, calls: int) -> float:
        """Return the seconds of one of ``calls`` calls."""
        return seconds_a_call(self._call, calls)

    def error(self) -> str:
        """Return why the last method could not be made or called."""
        return self._error


def _bound(method: Any, stat: str, matrix: Tensor, other: Tensor) -> Callable[[], object]:
    if stat == "losses":
        losses = matrix[:, 0].square().add(0.1).requires_grad_()

        def step() -> None:
            losses.grad = None
            method(losses).backward()

        return step
    given = matrix @ other.T if stat == "cross gramian" else matrix
    return lambda: method(given)


if __name__ == "__main__":
    serving.serve(MethodsWorker())
