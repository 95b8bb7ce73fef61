"""Pictures of records."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, nan
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._arguments import as_positive
from ._record import Record
from ._recorder import Recorder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Recorder | Record | Iterable[Record]
"""A recorder, a record, or several records."""

# More lines than that cannot be told apart by their colours.
_LINES = 10
# Up to how many objectives each cell of a heat map has its number, and each row its name.
_NUMBERS, _NAMES = 12, 32
_COLOURS = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#a463f2"),
    *("#3ca951", "#ff8ab7", "#9c6b4e", "#97bbf5", "#6b6b6b"),
)


def plot_weights(records: Records, /) -> "Figure":
    """Draw the weights over the steps: lines for up to 10 objectives, else a heat map.

    :param records: A recorder, or records of the same objectives.
    :returns: A figure of matplotlib, which no window shows: ``figure.savefig("weights.png")``.
    :raises ImportError: If matplotlib is not installed: ``pip install "jd-core[plots]"``.
    :raises TypeError: If ``records`` are none.
    :raises ValueError: If there is no record with weights, or objectives differ.

    >>> import torch
    >>> from torchjd.monitor import Record, plot_weights
    >>> weights = torch.tensor([0.2, 0.8])
    >>> figure = plot_weights([Record(step=i, names=("a", "b"), weights=weights) for i in range(3)])
    >>> figure.axes[0].get_ylabel()
    'weight'
    """
    kept = _alike([r for r in _listed(records) if r.weights is not None], "weights")
    weights = torch.stack([_on_host(record.weights) for record in kept])
    steps, names = [record.step for record in kept], kept[0].names
    if len(names) <= _LINES:
        figure, axes = _figure(8.0, 4.0)
        for i, name in enumerate(names):
            marker = "o" if len(steps) <= 30 else ""
            line = axes.plot(steps, weights[:, i].tolist(), color=_COLOURS[i], lw=1.6, label=name)
            line[0].set(marker=marker, markersize=3)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        axes.set_ylabel("weight")
        axes.grid(axis="y", color="0.92")
    else:
        figure, axes = _figure(8.0, min(9.0, 1.8 + 0.16 * len(names)))
        finite = weights[weights.isfinite()]
        low = min(0.0, float(finite.min())) if finite.numel() else 0.0
        high = float(finite.max()) if finite.numel() else 1.0
        image = axes.pcolormesh(
            _edges(steps), range(len(names) + 1), weights.T.tolist(), rasterized=True
        )
        # With negative weights, white is zero.
        image.set_cmap("RdBu_r" if low < 0.0 else "viridis")
        bound = max(-low, high, 1e-300)
        image.set_clim(-bound if low < 0.0 else 0.0, bound)
        axes.invert_yaxis()
        _name_ticks(axes.yaxis, names, 0.5)
        axes.set_ylabel("objective")
        figure.colorbar(image, ax=axes, label="weight", pad=0.02)
    axes.set_xlabel("step")
    axes.set_title("Weights of the objectives")
    return figure


def plot_cosines(records: Records, /) -> "Figure":
    """Draw the cosines of the gradients as a heat map: red where they conflict.

    Of several records, the mean is drawn: for a single step, pass that record, such as
    ``recorder.last``.

    :param records: A recorder, a record, or records of the same objectives.
    :returns: A figure of matplotlib, which no window shows: ``figure.savefig("cosines.png")``.
    :raises ImportError: If matplotlib is not installed: ``pip install "jd-core[plots]"``.
    :raises TypeError: If ``records`` are none.
    :raises ValueError: If there is no record with a Gramian, or objectives differ.

    >>> import torch
    >>> from torchjd.monitor import Record, plot_cosines
    >>> record = Record(step=7, names=("a", "b"), scaled_gramian=torch.eye(2))
    >>> plot_cosines(record).axes[0].get_title()
    'Cosines of the gradients, step 7'
    """
    kept = _alike([r for r in _listed(records) if r.cosines is not None], "a Gramian")
    cosines = torch.stack([_on_host(record.cosines) for record in kept]).nanmean(dim=0)
    names, m = kept[0].names, len(kept[0].names)
    side = min(10.0, max(3.6, 2.2 + 0.42 * min(m, 12) + 0.06 * max(0, m - 12)))
    figure, axes = _figure(side + 1.0, side)
    image = axes.imshow(cosines.tolist(), cmap="RdBu", vmin=-1.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="cosine", shrink=0.8)
    _name_ticks(axes.xaxis, names, 0.0)
    _name_ticks(axes.yaxis, names, 0.0)
    if max(map(len, names)) > 3:
        axes.tick_params(axis="x", rotation=45 if m <= _NUMBERS else 90)
    if m <= _NUMBERS:
        for i, row in enumerate(cosines.tolist()):
            for j, value in enumerate(row):
                shade = "white" if abs(value) > 0.6 else "0.15"
                axes.text(
                    j,
                    i,
                    f"{value:.2f}".replace("-0.00", "0.00"),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=shade,
                )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    which = f"step {kept[0].step}" if len(kept) == 1 else f"mean of {len(kept)} steps"
    axes.set_title(f"Cosines of the gradients, {which}")
    return figure


def plot_conflict_rate(records: Records, /, *, window: int | None = None) -> "Figure":
    """Draw the share of pairs of gradients that conflict over the steps, and its running mean.

    :param records: A recorder, or records.
    :param window: Over how many records the mean runs. Default: a twentieth of them.
    :returns: A figure of matplotlib, which no window shows: ``figure.savefig("conflicts.png")``.
    :raises ImportError: If matplotlib is not installed: ``pip install "jd-core[plots]"``.
    :raises TypeError: If ``records`` are none, or ``window`` is no int.
    :raises ValueError: If there is no record with a Gramian, or ``window`` is less than 1.

    >>> import torch
    >>> from torchjd.monitor import Record, plot_conflict_rate
    >>> gramian = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])
    >>> figure = plot_conflict_rate([Record(step=0, names=("a", "b"), scaled_gramian=gramian)])
    >>> figure.axes[0].get_ylabel()
    'pairs in conflict (%)'
    """
    kept = _some([r for r in _listed(records) if r.conflict_rate is not None], "a Gramian")
    steps = [record.step for record in kept]
    shares = [100.0 * (nan if r.conflict_rate is None else r.conflict_rate) for r in kept]
    size = ceil(len(kept) / 20) if window is None else as_positive(window, "window")
    figure, axes = _figure(8.0, 3.4)
    if size == 1:
        axes.plot(steps, shares, color=_COLOURS[0], lw=1.4, marker="o", markersize=2.5)
    else:
        axes.plot(steps, shares, color=_COLOURS[0], lw=0.7, alpha=0.35, label="each step")
        label = f"mean of {size}"
        axes.plot(steps, _running_mean(shares, size), color=_COLOURS[0], lw=1.8, label=label)
        axes.legend(loc="upper right", frameon=False)
    # A line at 0 or 100 % is not cut in half.
    axes.set_ylim(0.0, 100.0)
    for line in axes.lines:
        line.set_clip_on(False)
    axes.grid(axis="y", color="0.92")
    axes.set_xlabel("step")
    axes.set_ylabel("pairs in conflict (%)")
    axes.set_title("Conflicts between gradients")
    return figure


def _listed(records: Records) -> list[Record]:
    if isinstance(records, Recorder):
        return records.records
    found = [records] if isinstance(records, Record) else records
    listed = list(found) if isinstance(found, Iterable) else [found]
    for record in listed:
        if not isinstance(record, Record):
            raise TypeError(
                f"`records` must be a Recorder, a Record, or several. Got {type(record).__name__}."
            )
    return listed


def _some(records: list[Record], what: str) -> list[Record]:
    if not records:
        raise ValueError(
            f"`records` must have one with {what}. Got none. Attach the recorder before the step, "
            "and to what has it: an engine, or an aggregator."
        )
    return records


def _alike(records: list[Record], what: str) -> list[Record]:
    for record in _some(records, what):
        if record.names != records[0].names:
            raise ValueError(
                f"`records` must be of the same objectives. Got {list(records[0].names)[:8]} at "
                f"step {records[0].step}, and {list(record.names)[:8]} at step {record.step}. "
                "Draw those of each set alone."
            )
    return records


def _on_host(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.detach().to("cpu", torch.float64)


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """Return a figure that belongs to nobody else, with axes of the common style."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib, which could not be imported. Install it with "
            '`pip install "jd-core[plots]"`.'
        ) from error
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _edges(steps: Sequence[int]) -> list[float]:
    """Return the borders between columns, half-way between the steps."""
    between = [(a + b) / 2 for a, b in pairwise(steps)]
    first = steps[0] - (between[0] - steps[0] if between else 0.5)
    last = steps[-1] + (steps[-1] - between[-1] if between else 0.5)
    return [first, *between, last]


def _name_ticks(axis: Any, names: Sequence[str], offset: float) -> None:
    """Name the objectives along an axis; of many, some."""
    stride = ceil(len(names) / _NAMES)
    shown = range(0, len(names), stride)
    small = {"fontsize": 7} if len(names) > _NUMBERS else {}
    axis.set_ticks([i + offset for i in shown], [_short(names[i]) for i in shown], **small)


def _short(name: str) -> str:
    """Return ``name`` without its middle, where it is long: names often differ at their ends."""
    return name if len(name) <= 16 else f"{name[:8]}…{name[-7:]}"


def _running_mean(values: Sequence[float], size: int) -> list[float]:
    """Return, for each value, the mean of the last ``size`` finite ones."""
    found = []
    for end in range(1, len(values) + 1):
        part = [value for value in values[max(0, end - size) : end] if value == value]
        found.append(sum(part) / len(part) if part else nan)
    return found
