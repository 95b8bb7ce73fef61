"""The dual cone of two gradients in the plane, and what UPGrad and DualProj do with it.

The two gradients conflict: a step along one makes the other objective worse. The shaded cone holds
the updates that conflict with neither. UPGrad projects each gradient onto it, then takes the mean.
DualProj takes the mean, then projects that. All arrows but the two gradients are computed by the
library.

    python examples/dual_cone.py --out dual_cone.png
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from torch import Tensor

from torchjd.aggregation import DualProj, Mean, UPGrad
from torchjd.linalg import ExactProjector

J = torch.tensor([[-1.5, 1.1], [4.0, 0.9]], dtype=torch.float64)


class Style(NamedTuple):
    """The colours of a picture."""

    ink: str
    cone: str
    gradient: str
    mean: str
    projection: str
    result: str


STYLES = {
    "light": Style("#444444", "#d9e8f5", "#222222", "#b35900", "#3a7cbf", "#14508c"),
    "dark": Style("#b8b8b8", "#1f3347", "#eeeeee", "#f0a04b", "#6fb1ea", "#a9d4ff"),
}


def project(points: Tensor) -> Tensor:
    """Project points of shape ``[k, 2]`` onto the dual cone of the rows of ``J``."""
    combinations = torch.linalg.solve(J, points, left=False)  # the rows of J span the plane
    return ExactProjector()(combinations, J @ J.T) @ J


def cone(radius: float) -> Tensor:
    """Return a polygon that is the dual cone up to ``radius``: where the projections lie."""
    angles = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)[:-1]
    projected = project(torch.stack((angles.cos(), angles.sin()), dim=1))
    lengths = projected.norm(dim=1, keepdim=True)
    rays = (projected / lengths)[lengths[:, 0] > 1e-6]
    middle = rays.mean(dim=0)
    across = torch.stack((-middle[1], middle[0]))
    rays = rays[(rays @ across).argsort()]
    return torch.cat((torch.zeros(1, 2, dtype=torch.float64), radius * rays))


def arrow(axes: Axes, tip: Tensor, colour: str, label: str, offset: tuple[float, float]) -> None:
    """Draw an arrow from the origin, with its label beside the tip."""
    properties = {"arrowstyle": "-|>,head_width=0.3,head_length=0.6", "color": colour}
    properties |= {"linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", tip.tolist(), (0, 0), arrowprops=properties, zorder=3)
    axes.annotate(
        label,
        tip.tolist(),
        offset,
        textcoords="offset points",
        color=colour,
        ha="center",
        va="center",
        fontsize=12,
    )


def join(axes: Axes, points: Tensor, colour: str, line: str) -> None:
    axes.plot(points[:, 0], points[:, 1], color=colour, linestyle=line, linewidth=1.1, zorder=2)


def prepare(axes: Axes, style: Style, title: str) -> None:
    """Draw what both pictures share: the cone and the gradients."""
    corners = cone(radius=10)
    axes.add_patch(Polygon(corners.tolist(), facecolor=style.cone, zorder=0))
    middle = corners.mean(dim=0)
    axes.annotate(
        "no conflict\nwith either",
        (3.4 * middle / middle.norm()).tolist(),
        color=style.ink,
        ha="center",
        va="center",
        fontsize=11,
        style="italic",
    )
    arrow(axes, J[0], style.gradient, "$g_1$", (-8, 8))
    arrow(axes, J[1], style.gradient, "$g_2$", (4, -12))
    axes.set_aspect("equal")
    axes.set(xlim=(-2.0, 4.4), ylim=(-0.2, 3.9), xticks=[], yticks=[], facecolor="none")
    axes.spines[:].set_visible(False)
    axes.set_title(title, color=style.ink, fontsize=12)


def draw(style: Style) -> Figure:
    """Return the picture: UPGrad on the left, DualProj on the right."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)

    prepare(left, style, "UPGrad: project each gradient, then take the mean")
    projections = project(J)
    for gradient, projection in zip(J, projections, strict=True):
        join(left, torch.stack((gradient, projection)), style.projection, ":")
    join(left, projections, style.result, "--")
    arrow(left, projections[0], style.projection, r"$\pi(g_1)$", (-16, 12))
    arrow(left, projections[1], style.projection, r"$\pi(g_2)$", (22, 6))
    arrow(left, UPGrad()(J), style.result, "UPGrad", (-12, 14))

    prepare(right, style, "DualProj: take the mean, then project it")
    mean, projected = Mean()(J), DualProj()(J)
    join(right, torch.stack((mean, projected)), style.result, ":")
    join(right, J, style.mean, "--")
    arrow(right, mean, style.mean, "mean", (24, 6))
    arrow(right, projected, style.result, "DualProj", (-20, 14))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="A picture of the dual cone of two gradients.")
    parser.add_argument("--style", choices=STYLES, default="light", help="default: light")
    parser.add_argument("--out", type=Path, default=Path("dual_cone.png"), help="the picture")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # the tensors are tiny: a second thread only waits
    for aggregator in (Mean(), UPGrad(), DualProj()):
        update = aggregator(J)
        (x, y), (first, second) = update.tolist(), (J @ update).tolist()
        print(
            f"{aggregator!r:10}  ({x:5.2f}, {y:5.2f})   "
            f"along gradient 1: {first:+6.3f}, along gradient 2: {second:+6.3f}"
        )
    background = "#131416" if arguments.style == "dark" else "white"
    draw(STYLES[arguments.style]).savefig(arguments.out, dpi=150, facecolor=background)
    print(f"The picture is in {arguments.out}")


if __name__ == "__main__":
    main()
