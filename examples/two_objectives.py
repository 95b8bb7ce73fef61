"""Two objectives in the plane: the paths of the mean, of UPGrad and of DualProj.

Each objective is a squared distance to a point of its own, and the second counts four times as
much. Between the points lies the Pareto front: there, neither can fall unless the other rises. The
mean follows the larger gradient, lets the first objective rise, and slides along the front to one
and the same point, wherever it started. UPGrad and DualProj stop where they meet the front. UPGrad
lets both objectives fall. DualProj stays as near to the mean as it may: it holds the first
objective still, as far as a straight step can, so that it creeps up a little.

    python examples/two_objectives.py --out two_objectives.png
"""

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import SGD

import torchjd
from torchjd.aggregation import Aggregator, DualProj, Mean, UPGrad

METHODS: dict[str, Aggregator] = {"mean": Mean(), "UPGrad": UPGrad(), "DualProj": DualProj()}
STYLES = {
    "mean": {"color": "tab:orange", "linewidth": 5, "alpha": 0.6},
    "UPGrad": {"color": "tab:blue", "linewidth": 3},
    "DualProj": {"color": "tab:green", "linewidth": 2, "linestyle": (0, (3, 1))},
}
FRONT = {"color": "black", "linewidth": 10, "alpha": 0.2, "zorder": 0}

BEST = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
STARTS = [[-1.2, 1.8], [0.6, 2.2]]


def objectives(x: Tensor) -> Tensor:
    """Return both objectives at points of shape ``[..., 2]``, in the last dimension."""
    squared_distances = (x[..., None, :] - BEST).square().sum(dim=-1)
    return squared_distances * torch.tensor([1.0, 4.0])


def descend(start: list[float], aggregator: Aggregator, steps: int) -> Tensor:
    """Return the points that are visited, of shape ``[steps + 1, 2]``."""
    x = torch.tensor(start, requires_grad=True)
    optimizer = SGD([x], lr=0.01)
    path = [x.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        torchjd.backward(objectives(x), x, aggregator)
        optimizer.step()
        path.append(x.detach().clone())
    return torch.stack(path)


def draw_lines(axes: Axes, lines: dict[str, list[Tensor]]) -> None:
    for name, paths in lines.items():
        for i, path in enumerate(paths):
            label = name if i == 0 else None
            axes.plot(path[:, 0], path[:, 1], **STYLES[name], label=label)
            axes.plot(*path[-1], "o", color=STYLES[name]["color"], markersize=9, zorder=3)
    for path in lines["mean"]:
        axes.plot(*path[0], "ks", markersize=8, zorder=3)
        axes.annotate("start", path[0], (8, 6), textcoords="offset points")


def draw_plane(axes: Axes, paths: dict[str, list[Tensor]]) -> None:
    """Draw the paths over the contours of both objectives."""
    across, up = torch.linspace(-3.2, 3.2, 129), torch.linspace(-0.9, 3, 79)
    points = torch.stack(torch.meshgrid(across, up, indexing="xy"), dim=-1)
    for i, colour in enumerate(["peru", "orchid"]):
        values = objectives(points)[..., i]
        levels = values.max() * torch.linspace(0.05, 0.9, 7).square()
        axes.contour(across, up, values, levels, colors=colour, linewidths=0.8, alpha=0.7)
        axes.plot(*BEST[i], "*", color=colour, markersize=16)
        text = f"objective {i + 1}\nis least here"
        axes.annotate(text, BEST[i], (0, -38), textcoords="offset points", ha="center")
    axes.plot(BEST[:, 0], BEST[:, 1], **FRONT)
    draw_lines(axes, paths)
    axes.set_aspect("equal")
    axes.set_title("The two parameters, and the contours of both objectives")


def draw_values(axes: Axes, paths: dict[str, list[Tensor]]) -> None:
    """Draw the values that the two objectives take along the paths."""
    front = objectives(torch.lerp(BEST[0], BEST[1], torch.linspace(0, 1, 101)[:, None]))
    axes.plot(front[:, 0], front[:, 1], **FRONT, label="Pareto front")
    draw_lines(axes, {name: [objectives(p) for p in lines] for name, lines in paths.items()})
    axes.set_xlabel("objective 1: left is better")
    axes.set_ylabel("objective 2: down is better")
    axes.set_title("The values of the objectives on the way")
    axes.legend()


def main() -> None:
    parser = argparse.ArgumentParser(description="Paths to the Pareto front of two objectives.")
    parser.add_argument("--steps", type=int, default=300, help="steps of a path (default: 300)")
    parser.add_argument("--out", type=Path, default=Path("two_objectives.png"), help="the picture")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # the tensors are tiny: a second thread only waits
    paths: dict[str, list[Tensor]] = {}
    for name, aggregator in METHODS.items():
        paths[name] = [descend(start, aggregator, arguments.steps) for start in STARTS]
        for path in paths[name]:
            values = objectives(path)
            # Beyond rounding: on the front itself, both objectives stand still.
            rose = (values[1:] - values[:-1] > 1e-5 * values[:-1]).any(dim=1)
            (a, b), (c, d) = values[0].tolist(), values[-1].tolist()
            print(
                f"{name:8}  objectives from ({a:4.1f}, {b:4.1f}) to ({c:4.1f}, {d:4.1f}); "
                f"one of them rose in {100 * rose.float().mean():4.1f} % of the steps"
            )

    figure = Figure(figsize=(14, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    draw_plane(left, paths)
    draw_values(right, paths)
    figure.savefig(arguments.out, dpi=100)
    print(f"The picture is in {arguments.out}")


if __name__ == "__main__":
    main()
