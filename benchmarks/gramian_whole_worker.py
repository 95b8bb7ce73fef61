"""Measures what depends on more than one step: training, and batches of changing shape."""

from collections.abc import Callable
from itertools import cycle

import serving
import torch
from clock import seconds_a_call
from gramian_cases import LENGTH, Batch, Problem, on, sequences, vectors
from gramian_steps import Backward, backward_by, default_method, reason
from torch import Tensor

from torchjd.aggregation import UPGradWeighting

_TRAINED_BATCH, _TRAINED_BATCHES = 32, 16
_RATE = 0.01
_SHORTEST, _N_LENGTHS = 24, 20


class WholeWorker:
    """Answers requests about training, and about sequences of different lengths."""

    def __init__(self) -> None:
        self._device = ""
        self._trained: dict[str, Callable[[], object]] = {}
        self._batches: list[Batch] = []
        self._reason = ""

    def load(self, device: str) -> None:
        """Draw the batches to train on."""
        self._device, self._reason = device, ""
        torch.manual_seed(1)
        drawn = [vectors(_TRAINED_BATCH, 784) for _ in range(_TRAINED_BATCHES)]
        self._batches = [on(device, batch) for batch in drawn]

    def train(self, method: str) -> float | None:
        """Return the seconds of one step of SGD on the next batch; None if it raises.

        :param method: ``"plain"``: on the mean loss; ``"engine"``: on UPGrad's direction.
        """
        try:
            if method not in self._trained:
                self._trained[method] = self._training(method)
            return seconds_a_call(self._trained[method])
        except Exception as error:
            self._reason = reason(error)
            return None

    def lengths(self, forward: bool) -> dict[str, list[float]]:
        """Return the seconds of a step for each of some lengths, which no engine has seen before.

        Under "plain", "new" and, of a second pass of the same engine, "known"; empty where it
        raises.

        :param forward: Whether the plain step of each length comes first.
        """
        # The peer's engine leaves hooks on a model, so each gets one of its own.
        plain, problem = (Problem("transformer", self._device) for _ in range(2))
        batches = self._sequences(len(plain.weights))
        for batch in batches:  # what torch sets up for a shape is no engine's doing
            torch.autograd.backward(plain.losses(batch).sum())
        try:
            backward = backward_by(default_method(), problem.model)
            times: dict[str, list[float]] = {"plain": [], "new": [], "known": []}
            for pass_ in ("new", "known"):
                for batch in batches:
                    runs = {
                        "plain": (plain, backward_by("plain", plain.model)),
                        pass_: (problem, backward),
                    }
                    for name in runs if forward else reversed(runs):
                        times[name].append(_seconds(*runs[name], batch))
        except Exception as error:
            self._reason = reason(error)
            return {}
        return times

    def why(self) -> str:
        """Return what the last step that raised did raise."""
        return self._reason

    def _training(self, method: str) -> Callable[[], object]:
        problem = Problem("mlp128", self._device)
        optimizer = torch.optim.SGD(problem.model.parameters(), lr=_RATE)
        weigh = UPGradWeighting()
        batches = cycle(self._batches)  # every method goes through the same ones
        if method == "plain":

            def backward(losses: Tensor) -> None:
                torch.autograd.backward(losses.mean())
        else:
            by_engine = backward_by(default_method(), problem.model)

            def backward(losses: Tensor) -> None:
                by_engine(losses, weigh)

        def step() -> None:
            backward(problem.losses(next(batches)))
            optimizer.step()
            optimizer.zero_grad()

        return step

    def _sequences(self, size: int) -> list[Batch]:
        torch.manual_seed(2)
        lengths: list[int] = torch.randperm(LENGTH + 1 - _SHORTEST)[:_N_LENGTHS].tolist()
        drawn = [sequences(size, _SHORTEST + length) for length in lengths]
        return [on(self._device, batch) for batch in drawn]


def _seconds(problem: Problem, backward: Backward, batch: Batch) -> float:
    problem.clear()
    weights = problem.weights
    return seconds_a_call(lambda: backward(problem.losses(batch), lambda _: weights))


if __name__ == "__main__":
    serving.serve(WholeWorker())
