"""What recording adds to a training step: at most 5 % of it.

    python benchmarks/monitor.py --budget 10

Each line is a step of a perceptron with a hidden layer of ReLU, from the forward pass to the update
by SGD, without and with a recorder, and with one that writes a CSV file. The three train models of
their own, in turns. "Inside" is the time between entering the recorder and leaving it, over all
other time of the same steps: it is sharp, and counts what is seldom, such as Gramians that are
computed for the recorder. "In turns" is how much longer the recorded steps took than the plain ones
of the same round, the median: it counts everything, and the noise of the machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

import torchjd
from torchjd.aggregation import Mean, UPGrad, UPGradWeighting
from torchjd.aggregation._observers import Observation
from torchjd.autogram import Engine
from torchjd.monitor import CsvWriter, Recorder

_BOUND = 5.0
# A multiple of 20, after which a Gramian is computed for the mean. Lines are written after 64.
_TURN = 20
_NETS = {"tiny": (10, 16), "MLP": (784, 256)}


@dataclass(frozen=True)
class Case:
    """A training, made anew by each call.

    :ivar name: What is printed.
    :ivar make: Returns a step, and what a recorder looks at.
    """

    name: str
    make: Callable[[], tuple[Callable[[], object], object]]


def task_wise(net: str, method: type[UPGrad | Mean], m: int) -> Case:
    """Return a training on m losses by the Jacobian."""

    def make() -> tuple[Callable[[], object], object]:
        torch.manual_seed(0)
        width, hidden = _NETS[net]
        model = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, m))
        inputs, targets = torch.randn(128, width), torch.randn(128, m)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        aggregator = method()

        def step() -> None:
            optimizer.zero_grad()
            losses = (model(inputs) - targets).square().mean(dim=0)
            torchjd.backward(losses, model.parameters(), aggregator)
            optimizer.step()

        return step, aggregator

    return Case(f"{net}, {method.__name__}, {m} losses", make)


def instance_wise(net: str, batch: int) -> Case:
    """Return a training on a loss for each sample by the Gramian engine."""

    def make() -> tuple[Callable[[], object], object]:
        torch.manual_seed(0)
        width, hidden = _NETS[net]
        model = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 10))
        inputs, targets = torch.randn(batch, width), torch.randint(10, (batch,))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        engine, weighting = Engine(model), UPGradWeighting()

        def step() -> None:
            optimizer.zero_grad()
            losses = nn.functional.cross_entropy(model(inputs), targets, reduction="none")
            engine.backward(losses, weighting)
            optimizer.step()

        return step, engine

    return Case(f"{net}, Engine, {batch} samples", make)


CASES = [
    *(task_wise(net, UPGrad, m) for net in _NETS for m in (2, 8, 32)),
    *(task_wise(net, Mean, m) for net in _NETS for m in (2, 8, 32)),
    task_wise("MLP", Mean, 128),
    *(instance_wise(net, 32) for net in _NETS),
]


class Timed(Recorder):
    """A recorder that knows how long it took.

    :ivar seconds: So far.
    """

    seconds = 0.0

    def _see(self, seen: Observation) -> None:
        begin = time.perf_counter()
        super()._see(seen)
        self.seconds += time.perf_counter() - begin


class Training:
    """A training with or without a recorder, in turns of some steps."""

    def __init__(self, case: Case, path: Path | None, *, recorded: bool) -> None:
        self.step, target = case.make()
        self.writer = None if path is None else CsvWriter(path)
        to = () if self.writer is None else self.writer
        self.recorder = Timed(target, to=to) if recorded else None  # type: ignore[arg-type]
        self.turns: list[float] = []
        for _ in range(2):  # before the recorder is there: it begins with a step it records
            self.step()

    def turn(self) -> None:
        """Take some steps."""
        if self.recorder is not None:
            self.recorder.attach()
        begin = time.perf_counter()
        for _ in range(_TURN):
            self.step()
        self.turns.append(time.perf_counter() - begin)

    def finish(self) -> None:
        """Write the last lines, as a part of the recorder's time."""
        begin = time.perf_counter()
        if self.recorder is not None:
            self.recorder.detach()
            self.recorder.seconds += time.perf_counter() - begin

    def inside(self) -> float:
        """Return the recorder's time in per cent of the rest."""
        taken = 0.0 if self.recorder is None else self.recorder.seconds
        return 100.0 * taken / (sum(self.turns) - taken)


def trained(case: Case, budget: float, folder: Path) -> list[Training]:
    """Return trainings that are plain, recorded, and written, after rounds taken in turns."""
    path = folder / f"{case.name}.csv"
    ways: list[Training] = [
        Training(case, None, recorded=False),
        Training(case, None, recorded=True),
        Training(case, path, recorded=True),
    ]
    begin, rounds = time.perf_counter(), 0
    while rounds < 4 or time.perf_counter() - begin < budget:
        for way in ways[:: -1 if rounds % 2 else 1]:
            way.turn()
        rounds += 1
    for way in ways:
        way.finish()
    return ways


def in_turns(plain: Training, other: Training) -> float:
    """Return how many per cent longer than ``plain`` a turn of ``other`` was."""
    pairs = zip(plain.turns, other.turns, strict=True)
    return 100.0 * statistics.median(b / a - 1.0 for a, b in pairs)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--budget", type=float, default=4.0, help="seconds a line")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"What recording adds to a step, in %; bound: {_BOUND:.0f}")
    print(f"{'':28}{'plain':>10}{'inside':>10}{'':10}{'in turns':>10}")
    print(f"{'step':28}{'ms':>10}{'recorded':>10}{'and CSV':>10}{'recorded':>10}{'and CSV':>10}")
    with TemporaryDirectory() as folder:
        for case in CASES:
            plain, *ways = trained(case, arguments.budget, Path(folder))
            inside = [way.inside() for way in ways]
            shares = [*inside, *(in_turns(plain, way) for way in ways)]
            taken = 1e3 * statistics.median(plain.turns) / _TURN
            verdict = "ok" if max(inside) <= _BOUND else "NO"
            numbers = "".join(f"{share:10.2f}" for share in shares)
            print(f"{case.name:28}{taken:10.3f}{numbers}  {verdict}", flush=True)


if __name__ == "__main__":
    main()
