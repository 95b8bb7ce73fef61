"""One side of the comparison of whole steps with given weights; it runs in either environment."""

from typing import Any

import serving
import torch
from clock import seconds_a_call
from gramian_cases import Problem
from gramian_steps import Backward, backward_by, peak_on, reason
from torch import Tensor


class GramianWorker:
    """Answers requests about one model and one batch."""

    def __init__(self) -> None:
        self._kind = ""
        self._device = ""
        self._problems: dict[str, tuple[Problem, Backward]] = {}
        self._reason = ""

    def about(self) -> dict[str, Any]:
        """Say what is installed here, and whether it can use a GPU."""
        return {**serving.about(), "cuda": torch.cuda.is_available()}

    def load(self, kind: str, device: str) -> None:
        """Say which model and where; each method gets one of its own."""
        self._kind, self._device = kind, device
        self._problems, self._reason = {}, ""

    def error(self, method: str) -> float | None:
        """Return the relative error of a step; None if it raises.

        The largest of: the weighted gradient of each parameter, against an ordinary backward pass;
        and ``w^T G w``, against the square of that gradient's norm.
        """
        gramians: list[Tensor] = []
        try:
            problem, backward = self._problem(method)
            problem.clear()

            def weigh(gramian: Tensor) -> Tensor:
                gramians.append(gramian)
                return problem.weights

            backward(problem.losses(), weigh)
        except Exception as error:
            self._reason = reason(error)
            return None
        right, _ = self._problem("plain")
        right.clear()
        torch.autograd.backward(right.losses(), right.weights)
        # Parameter by parameter: beside a large gradient, a small one that is wrong does not show.
        worst, square = 0.0, 0.0
        pairs = zip(problem.model.parameters(), right.model.parameters(), strict=True)
        for found, expected in ((_grad(a), _grad(b)) for a, b in pairs):
            worst = max(worst, float((found - expected).norm() / expected.norm()))
            square += float(expected.double().square().sum())
        if gramians:
            worst = max(worst, abs(_square_norm(gramians[0], problem.weights) - square) / square)
        return worst

    def measure(self, method: str) -> float | None:
        """Return the seconds of a step: forward, Gramian, weighted gradient; None if it raises."""
        try:
            problem, backward = self._problem(method)
            problem.clear()
            return seconds_a_call(lambda: backward(problem.losses(), lambda _: problem.weights))
        except Exception as error:
            self._reason = reason(error)
            return None

    def memory(self, method: str) -> int | None:
        """Return the peak of a second step in bytes, above what was there just before it."""
        if self.measure(method) is None:
            return None
        problem, backward = self._problem(method)
        problem.clear()
        return peak_on(self._device, lambda: backward(problem.losses(), lambda _: problem.weights))

    def why(self) -> str:
        """Return what the last step that raised did raise."""
        return self._reason

    def _problem(self, method: str) -> tuple[Problem, Backward]:
        if method not in self._problems:
            problem = Problem(self._kind, self._device)
            self._problems[method] = problem, backward_by(method, problem.model)
        return self._problems[method]


def _grad(param: Tensor) -> Tensor:
    # Each parameter of each model takes part, so one without a gradient is all wrong.
    return torch.zeros_like(param) if param.grad is None else param.grad


def _square_norm(gramian: Tensor, weights: Tensor) -> float:
    """Return ``w^T G w``; the peer's Gramian is a matrix whatever the shape of the weights."""
    weights = weights.double()
    if gramian.dim() == 2:
        flat = weights.flatten()
        return float(flat @ gramian.double() @ flat)
    product = torch.tensordot(weights, gramian.double(), dims=weights.dim())
    return float((product * weights.permute(*reversed(range(weights.dim())))).sum())


if __name__ == "__main__":
    serving.serve(GramianWorker())
