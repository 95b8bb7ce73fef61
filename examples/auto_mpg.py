"""Train one small network on four targets at once: with the mean of the losses, and with UPGrad.

The data are 392 cars (Auto MPG, shipped with mlxtend). From the number of cylinders, the year and
the origin of a car, the network predicts its mileage, horsepower, acceleration and displacement.
The four targets share a layer that is only three wide, so what helps one can hurt another. For
every step of the training this script looks whether some target's loss rose.

The rows are split 240 / 76 / 76. The 76 in the middle were used to choose the learning rates, and
only for that. Everything that is printed and drawn is measured by the run.

    python examples/auto_mpg.py --seeds 8 --steps 600 --out auto_mpg.png
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from mlxtend.data import autompg_data
from numpy.typing import ArrayLike
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn
from torch.optim import SGD

import torchjd
from torchjd.aggregation import Aggregator, UPGrad

TARGETS = ["mpg", "horsepower", "acceleration", "displacement"]
METHODS: dict[str, Aggregator | None] = {"mean": None, "UPGrad": UPGrad()}
LEARNING_RATES = {"standardised": 0.1, "raw": 1e-3}
CAPTIONS = {
    "standardised": "Targets standardised: each counts the same",
    "raw": "Targets in their own units: the largest numbers, those of displacement, count most",
}
COLOURS = {"mean": "tab:orange", "UPGrad": "tab:blue"}


@dataclass
class Run:
    """What one training measured.

    :ivar losses: The training loss of each target, before the first step and after each, relative
        to the target's variance: ``[steps + 1, 4]``.
    :ivar r2: The share of each target's variance on the test rows that is explained: ``[4]``.
    :ivar seconds: The time of one step.
    """

    losses: Tensor
    r2: Tensor
    seconds: float


Results = dict[tuple[str, str], list[Run]]
"""The runs, one a seed, of each scale of the targets and each method."""


def load_cars() -> tuple[Tensor, Tensor]:
    """Return inputs of shape ``[392, 3]`` and targets of shape ``[392, 4]``."""
    columns, mpg = autompg_data()
    cylinders, displacement, horsepower, _, acceleration, year, origin = columns.T[:7]
    inputs = np.stack([cylinders, year, origin], axis=1)
    targets = np.stack([mpg, horsepower, acceleration, displacement], axis=1)
    return torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)


def split(seed: int, scale: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return inputs and targets for training, then for the test."""
    inputs, targets = load_cars()
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    train, test = order[:240], order[316:]
    inputs = (inputs - inputs[train].mean(0)) / inputs[train].std(0)
    targets = targets - targets[train].mean(0)
    if scale == "standardised":
        targets = targets / targets[train].std(0)
    return inputs[train], targets[train], inputs[test], targets[test]


def train(scale: str, aggregator: Aggregator | None, seed: int, steps: int) -> Run:
    """Train one network, by gradient descent on all training rows.

    :param scale: ``"standardised"`` or ``"raw"`` targets.
    :param aggregator: How to combine the gradients of the four losses; None to descend their mean.
    """
    x, y, test_x, test_y = split(seed, scale)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3), nn.Tanh(), nn.Linear(3, 4))
    params = list(model.parameters())
    optimizer = SGD(params, lr=LEARNING_RATES[scale])

    history = []
    start = time.perf_counter()
    for _ in range(steps):
        losses = (model(x) - y).square().mean(dim=0)  # one for each target
        history.append(losses.detach())
        optimizer.zero_grad()
        if aggregator is None:
            losses.mean().backward()
        else:
            torchjd.backward(losses, params, aggregator)
        optimizer.step()
    seconds = (time.perf_counter() - start) / steps

    with torch.no_grad():
        history.append((model(x) - y).square().mean(dim=0))
        r2 = 1 - (model(test_x) - test_y).square().mean(dim=0) / test_y.var(dim=0, correction=0)
    # In double precision, so that the division rounds no rise away.
    return Run(torch.stack(history).double() / y.var(dim=0), r2, seconds)


def rising(losses: Tensor) -> Tensor:
    """Return, for each step, whether it made the loss of some target rise."""
    return (losses[1:] > losses[:-1]).any(dim=1)


def share_of_rises(runs: list[Run]) -> float:
    return torch.stack([rising(run.losses) for run in runs]).float().mean().item()


def train_all(seeds: int, steps: int, console: Console) -> Results:
    results: Results = {(scale, name): [] for scale in LEARNING_RATES for name in METHODS}
    with Progress(console=console) as progress:
        task = progress.add_task("Training", total=seeds * len(results))
        for seed in range(seeds):
            for scale, name in results:
                progress.update(task, description=f"seed {seed}: {name} on {scale} targets")
                results[scale, name].append(train(scale, METHODS[name], seed, steps))
                progress.advance(task)
    return results


def mean_r2(runs: list[Run]) -> Tensor:
    """Return the test R² of each run, averaged over the targets."""
    return torch.stack([run.r2.mean() for run in runs])


def milliseconds(runs: list[Run]) -> float:
    return 1e3 * sum(run.seconds for run in runs) / len(runs)


def table(results: Results) -> Table:
    grid = Table(title="R² on unseen cars, mean ± spread over seeds", title_style="bold")
    grid.add_column("\ntargets")
    for scale, name in results:
        grid.add_column(f"{name}\n{scale}", justify="right")
    for i, target in enumerate(TARGETS):
        cells = []
        for runs in results.values():
            r2 = torch.stack([run.r2[i] for run in runs])
            cells.append(f"{r2.mean():.2f} ± {r2.std(correction=0):.2f}")
        grid.add_row(target, *cells, end_section=target == TARGETS[-1])
    shares = [f"{100 * share_of_rises(runs):.1f} %" for runs in results.values()]
    grid.add_row("steps with a rise", *shares)
    grid.add_row("time per step", *[f"{milliseconds(runs):.2f} ms" for runs in results.values()])
    return grid


def findings(results: Results) -> list[str]:
    """Say in words what the runs show, whichever way they went."""
    mean, upgrad = results["standardised", "mean"], results["standardised", "UPGrad"]
    raw_mean, raw_upgrad = results["raw", "mean"], results["raw", "UPGrad"]
    sentences = []
    for scale in LEARNING_RATES:
        shares = [100 * share_of_rises(results[scale, name]) for name in METHODS]
        sentences.append(
            f"On {scale} targets, {shares[0]:.1f} % of the steps made some target's loss rise with "
            f"the mean, and {shares[1]:.1f} % with UPGrad."
        )

    by_upgrad = (mean_r2(raw_upgrad) - mean_r2(raw_mean)).mean()
    by_scaling = (mean_r2(mean) - mean_r2(raw_mean)).mean()
    more = "more" if by_scaling > by_upgrad else "less"
    sentences.append(
        f"Standardising the targets helps {more} than UPGrad does: on raw targets, the average R² "
        f"changes by {by_scaling:+.3f} with the one and by {by_upgrad:+.3f} with the other."
    )

    gain = mean_r2(upgrad) - mean_r2(mean)
    spread = mean_r2(mean).std(correction=0)
    verdict = "less than" if gain.mean().abs() < spread else "at least"
    sentences.append(
        f"On standardised targets, UPGrad changes the average R² by {gain.mean():+.3f}: {verdict} "
        f"the spread over seeds, {spread:.3f}. It was higher with {int((gain > 0).sum())} of "
        f"{len(gain)} seeds."
    )

    ratio = milliseconds(upgrad) / milliseconds(mean)
    sentences.append(f"A step of UPGrad took {ratio:.1f} times as long as one of the mean.")
    return sentences


def marker(x: ArrayLike, y: ArrayLike) -> Line2D:
    return Line2D(x, y, color="red", alpha=0.4, linewidth=7, solid_capstyle="butt")


def draw_curves(axes: Axes, losses: Tensor, name: str) -> None:
    """Draw one target's loss, and mark the steps in which it rose."""
    rose = rising(losses[:, None])
    ends = torch.zeros(len(losses), dtype=torch.bool)
    ends[1:] |= rose
    ends[:-1] |= rose
    axes.add_line(marker(torch.arange(len(losses)), losses.where(ends, torch.nan)))
    axes.plot(losses, color=COLOURS[name], linewidth=2)


def draw_shares(axes: Axes, results: Results, scale: str) -> None:
    """Draw, for each method, the share of steps with a rise; a dot is a seed."""
    labels = []
    for i, name in enumerate(METHODS):
        runs = results[scale, name]
        share = 100 * share_of_rises(runs)
        dots = [100 * share_of_rises([run]) for run in runs]
        axes.bar(i, share, color=COLOURS[name], width=0.6)
        axes.scatter([i] * len(dots), dots, color="black", s=9, zorder=3, clip_on=False)
        labels.append(f"{name}\n{share:.1f} %")
    axes.set_xticks(range(len(labels)), labels, fontweight="bold")
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_title("steps that made some error\nrise, in % (a dot is a run)", fontsize=11)


def draw(results: Results, path: Path) -> None:
    figure = Figure(figsize=(15, 8), layout="constrained")
    top, *rows = figure.subfigures(3, 1, height_ratios=[0.22, 1, 1])
    top.suptitle(
        "One small network predicts four properties of a car: which steps make one worse?",
        fontsize=16,
        fontweight="bold",
    )
    lines = [Line2D([], [], color=colour, linewidth=3) for colour in COLOURS.values()]
    labels = ["trained with the mean of the losses", "trained with UPGrad", "the error is rising"]
    top.legend(
        [*lines, marker([], [])], labels, loc="lower center", ncols=3, frameon=False, fontsize=12
    )

    for row, (scale, rate) in zip(rows, LEARNING_RATES.items(), strict=True):
        row.suptitle(f"{CAPTIONS[scale]} (learning rate {rate:g})", fontsize=13)
        *curves, shares = row.subplots(1, len(TARGETS) + 1)
        for i, axes in enumerate(curves):
            for name in METHODS:
                draw_curves(axes, results[scale, name][0].losses[:, i], name)
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 5, 6, 7, 8)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_title(TARGETS[i], fontsize=11)
            axes.set_xlabel("step of the first run")
        curves[0].set_ylabel("training error\n(1 = guessing the average car)")
        draw_shares(shares, results, scale)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description="UPGrad against the mean, on four targets.")
    parser.add_argument("--seeds", type=int, default=8, help="runs of each kind (default: 8)")
    parser.add_argument("--steps", type=int, default=600, help="steps of a run (default: 600)")
    parser.add_argument("--out", type=Path, default=Path("auto_mpg.png"), help="the picture")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # the network is small: a second thread only waits
    console = Console()
    results = train_all(arguments.seeds, arguments.steps, console)
    console.print(table(results))
    for sentence in findings(results):
        console.print(f"- {sentence}", highlight=False)
    draw(results, arguments.out)
    console.print(f"The picture is in {arguments.out}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
