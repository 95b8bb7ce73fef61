"""A picture of a Gramian: which images pull a network the same way, and which against each other.

The data are images of handwritten digits (shipped with scikit-learn). A small network is trained
for a moment. Then the engine computes the Gramian of the losses of 120 images, twelve of each
digit: the inner products of the gradients of all pairs. Divided by the lengths of the gradients,
they are cosines: 1 where two images ask for the same step, negative where a step for the one makes
the other worse. Sorted by digit, they show blocks.

    python examples/gramian_picture.py --out gramian_picture.png
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from torchjd.autogram import Engine

EACH = 12  # images of each digit


class Style(NamedTuple):
    """The colours of a picture: of its text, and of negative cosines, 0 and positive ones."""

    ink: str
    conflict: str
    neutral: str
    agreement: str


STYLES = {
    "light": Style("#444444", "#b2182b", "#ffffff", "#2166ac"),
    "dark": Style("#b8b8b8", "#f4705f", "#17191c", "#5aa9e6"),
}


def cosines(steps: int = 30) -> Tensor:
    """Return the cosines between the gradients of the images, sorted by digit: ``[120, 120]``."""
    data = load_digits()
    images = torch.tensor(data.data, dtype=torch.float32) / 16
    digits = torch.tensor(data.target)
    shown = torch.cat([(digits == digit).nonzero()[:EACH, 0] for digit in range(10)])

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = SGD(model.parameters(), lr=0.5)
    for rows in torch.randperm(len(digits)).split(64)[:steps]:
        optimizer.zero_grad()
        cross_entropy(model(images[rows]), digits[rows]).backward()
        optimizer.step()

    losses = cross_entropy(model(images[shown]), digits[shown], reduction="none")
    gramian = Engine(model, batch_dim=0).compute_gramian(losses)
    lengths = gramian.diagonal().sqrt()
    return gramian / torch.outer(lengths, lengths)


def by_digit(C: Tensor) -> Tensor:
    """Return the mean cosine between images of two digits, ``[10, 10]``; an image has no self."""
    blocks = C.unflatten(0, (10, EACH)).unflatten(2, (10, EACH)).sum(dim=(1, 3))
    pairs = torch.full((10, 10), float(EACH * EACH)) - EACH * torch.eye(10)
    return (blocks - EACH * torch.eye(10)) / pairs


def prepare(axes: Axes, style: Style, title: str, centre: float, spacing: float) -> None:
    """Label the digits along both sides."""
    ticks = [centre + spacing * digit for digit in range(10)]
    axes.set_xticks(ticks, map(str, range(10)))
    axes.set_yticks(ticks, map(str, range(10)))
    axes.tick_params(length=0, colors=style.ink)
    axes.spines[:].set_visible(False)
    axes.set_title(title, color=style.ink, fontsize=12)


def draw(C: Tensor, style: Style) -> Figure:
    """Return the picture: all images on the left, the means of the digits on the right."""
    colours = LinearSegmentedColormap.from_list(
        "cosine", [style.conflict, style.neutral, style.agreement]
    )
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)

    prepare(left, style, "cosines between the gradients of 120 images", (EACH - 1) / 2, EACH)
    image = left.imshow(C.numpy(), cmap=colours, vmin=-1, vmax=1, interpolation="nearest")
    for digit in range(1, 10):
        for line in (left.axhline, left.axvline):
            line(EACH * digit - 0.5, color=style.ink, linewidth=0.4)

    prepare(right, style, "their means, in percent", 0, 1)
    means = by_digit(C)
    right.imshow(means.numpy(), cmap=colours, vmin=-1, vmax=1, interpolation="nearest")
    for row, values in enumerate(means.tolist()):
        for column, value in enumerate(values):
            colour = style.neutral if abs(value) > 0.6 else style.ink
            text = f"{round(100 * value)}"
            right.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)

    bar = figure.colorbar(image, ax=[left, right], shrink=0.8, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["-1: conflict", "0", "1: the same step"], color=style.ink)
    bar.ax.tick_params(length=0)
    bar.ax.spines[:].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="A picture of the Gramian of 120 images.")
    parser.add_argument("--style", choices=STYLES, default="light", help="default: light")
    parser.add_argument("--out", type=Path, default=Path("gramian_picture.png"), help="the picture")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # the network is small: a second thread only waits
    C = cosines()
    means = by_digit(C)
    same = means.diagonal().mean()
    different = (means.sum() - means.trace()) / 90
    pairs = C[*torch.triu_indices(len(C), len(C), offset=1)]
    print(f"{100 * (pairs < 0).float().mean():.1f} % of all pairs of images conflict.")
    print(f"Cosine of two images of the same digit: {same:+.3f} on average.")
    print(f"Cosine of two images of different digits: {different:+.3f} on average.")
    background = "#131416" if arguments.style == "dark" else "white"
    draw(C, STYLES[arguments.style]).savefig(arguments.out, dpi=150, facecolor=background)
    print(f"The picture is in {arguments.out}")


if __name__ == "__main__":
    main()
