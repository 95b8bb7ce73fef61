"""What gradient scaling adds to a training step: with torch's scaler, and with one an objective.

    python benchmarks/scaling.py --budget 10

A step goes from the losses to the update by Adam, with UPGrad, all in float32, so that what differs
is the scaling alone. The perceptron is 784-1024-1024-10 with batches of 128, in equal parts for m
losses. "Jacobian" is the backward pass, "aggregation" what fills ``.grad``. Over the step without a
scaler, medians and quartiles, taken in turns.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from pacing import alternate
from ratios import ratios, spread
from torch import Tensor, nn
from torch.amp import GradScaler

import jd_amp
from torchjd import autojac
from torchjd.aggregation import UPGrad

_PARTS = ("Jacobian", "aggregation", "step")


class Training:
    """A training with a scaler, or without one.

    :param m: The number of losses.
    :param scaler: What scales; None for nothing.
    """

    def __init__(self, m: int, scaler: GradScaler | None) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            *(nn.Linear(784, 1024), nn.ReLU()),
            *(nn.Linear(1024, 1024), nn.ReLU()),
            nn.Linear(1024, 10),
        )
        self.inputs, self.targets = torch.randn(128, 784), torch.randint(10, (128,))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.aggregator = UPGrad()
        self.scaler = scaler
        self.m = m

    def step(self, clock: Callable[[str], None]) -> None:
        """Take a step; call ``clock`` after each part."""
        scaler, params = self.scaler, list(self.model.parameters())
        each = nn.functional.cross_entropy(self.model(self.inputs), self.targets, reduction="none")
        losses: Sequence[Tensor] = [part.mean() for part in each.chunk(self.m)]
        self.optimizer.zero_grad()
        clock("")
        if isinstance(scaler, jd_amp.JacobianScaler):
            scaler.backward(losses)
        else:
            autojac.backward(losses if scaler is None else scaler.scale(losses))
        clock("Jacobian")
        if scaler is None:
            autojac.jac_to_grad(params, self.aggregator)
        else:
            jd_amp.jac_to_grad(params, self.aggregator, scaler=scaler)
        clock("aggregation")
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()

    def timed(self, part: str) -> Callable[[int], float]:
        """Return what takes a number of steps, and returns the seconds of a part of one."""

        def run(calls: int) -> float:
            total = 0.0
            for _ in range(calls):
                begin = last = time.perf_counter()
                taken: dict[str, float] = {}

                def clock(name: str, taken: dict[str, float] = taken) -> None:
                    nonlocal last
                    now = time.perf_counter()
                    taken[name], last = now - last, now

                self.step(clock)
                taken["step"] = time.perf_counter() - begin
                total += taken[part]
            return total / calls

        return run


def ways(m: int) -> Iterable[tuple[str, Training]]:
    """Yield the scalers by name; the first is none."""
    yield "none", Training(m, None)
    yield "GradScaler", Training(m, GradScaler("cpu"))
    yield "JacobianScaler", Training(m, jd_amp.JacobianScaler("cpu"))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--budget", type=float, default=8.0, help="seconds a part")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'m':>3}  {'part':12}{'ms':>8}  {'GradScaler':22}JacobianScaler")
    for m in (2, 8):
        trainings = [training for _, training in ways(m)]
        for part in _PARTS:
            times = alternate([t.timed(part) for t in trainings], arguments.budget)
            plain = 1e3 * sorted(times[0])[len(times[0]) // 2]
            over = [spread(ratios(other, times[0]))[1] for other in times[1:]]
            print(f"{m:3}  {part:12}{plain:8.1f}  {over[0]:22}{over[1]}", flush=True)


if __name__ == "__main__":
    main()
