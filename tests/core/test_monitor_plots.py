"""Pictures of records: what they show, and that they can be read."""

import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from torchjd.monitor import (
    Record,
    Recorder,
    plot_conflict_rate,
    plot_cosines,
    plot_weights,
)

from .monitored import inverse_square, rows

pytest.importorskip("matplotlib")

PLOTS = [plot_weights, plot_cosines, plot_conflict_rate]


def recorded(m=3, steps=5, names=None):
    aggregator = inverse_square()
    with Recorder(aggregator, names=names) as recorder:
        for seed in range(steps):
            aggregator(rows(seed, m))
    return recorder


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("m", [1, 2, 10, 11, 33, 64])
def test_no_text_covers_another(plot, m, tmp_path):
    figure = plot(recorded(m, names=[f"a rather long name {i}" for i in range(m)]))
    figure.savefig(tmp_path / "plot.png")  # settles the layout
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            boxes = visible(axis)
            # Along the axis; of names that lean, their upper right corners.
            places = sorted(b.x1 if axis is axes.xaxis else b.y0 for b in boxes)
            least = min((min(b.width, b.height, 10.0) for b in boxes), default=0.0)
            assert all(after - before >= 0.9 * least for before, after in pairwise(places))
            for box in boxes:
                assert min(box.x0, box.y0) >= -2.0
                assert box.x1 <= figure.bbox.width + 2.0
                assert box.y1 <= figure.bbox.height + 2.0


def visible(axis):
    """Return where the labels are of the ticks within the limits."""
    low, high = sorted(axis.get_view_interval())
    labels = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
    return [t.get_window_extent() for at, t in labels if low <= at <= high and t.get_text()]


@pytest.mark.parametrize("plot", PLOTS)
def test_no_global_state_is_touched(plot):
    recorder = recorded()
    plot(recorder)
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_weights_are_lines_for_few_objectives():
    recorder = recorded(names=["a", "b", "c"])
    (axes,) = plot_weights(recorder).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]
    weights = torch.stack([record.weights for record in recorder.records])
    for i, line in enumerate(axes.lines):
        assert list(line.get_xdata()) == [0, 1, 2, 3, 4]
        assert list(line.get_ydata()) == weights[:, i].tolist()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_weights_are_a_heat_map_for_many(sign):
    names = tuple(map(str, range(12)))
    weights = [sign * torch.rand(12, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    records = [Record(step=3 * i, names=names, weights=w) for i, w in enumerate(weights)]
    axes, bar = plot_weights(records).axes
    (mesh,) = axes.collections
    shown = torch.as_tensor(mesh.get_array()).float()
    torch.testing.assert_close(shown.view(12, 4), torch.stack(weights, dim=1))
    low, high = mesh.get_clim()
    assert (low == 0.0) if sign > 0 else (low == -high)  # white is zero
    assert axes.get_xlim() == (-1.5, 10.5)
    assert bar.get_ylabel() == "weight"


def test_cosines_of_one_record_and_of_many():
    recorder = recorded(names=["a", "b", "c"])
    for records, expected, title in [
        (recorder.last, recorder.last.cosines, "step 4"),
        ([recorder.last], recorder.last.cosines, "step 4"),
        (recorder, torch.stack([r.cosines for r in recorder.records]).mean(dim=0), "mean of 5"),
    ]:
        axes, _ = plot_cosines(records).axes
        (image,) = axes.images
        torch.testing.assert_close(torch.as_tensor(image.get_array().data), expected)
        assert image.get_clim() == (-1.0, 1.0)
        assert title in axes.get_title()
        written = [float(text.get_text()) for text in axes.texts]
        assert written == pytest.approx(expected.flatten().tolist(), abs=0.0051)


def test_cosines_that_are_no_numbers_are_left_out_of_the_mean():
    recorder = recorded()
    broken = Record(step=5, names=recorder.last.names, scaled_gramian=torch.full((3, 3), torch.nan))
    with_it, without = (
        plot_cosines(r).axes[0].images[0].get_array()
        for r in ([*recorder.records, broken], recorder)
    )
    torch.testing.assert_close(torch.as_tensor(with_it.data), torch.as_tensor(without.data))


def test_conflict_rates_and_their_running_mean():
    recorder = recorded(steps=6)
    rates = [100.0 * record.conflict_rate for record in recorder.records]
    (axes,) = plot_conflict_rate(recorder, window=2).axes
    each, mean = axes.lines
    assert list(each.get_ydata()) == pytest.approx(rates)
    pairs = [(a + b) / 2 for a, b in pairwise(rates)]
    assert list(mean.get_ydata()) == pytest.approx([rates[0], *pairs])
    (axes,) = plot_conflict_rate(recorder).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [pytest.approx(rates)]


@pytest.mark.parametrize("plot", PLOTS)
def test_what_cannot_be_drawn_is_refused(plot):
    with pytest.raises(TypeError, match=r"`records` must be a Recorder, .*Got int"):
        plot(3)
    with pytest.raises(TypeError, match=r"`records` must be a Recorder.*Got str"):
        plot(["run.csv"])
    with pytest.raises(ValueError, match=r"`records` must have one with .*Got none"):
        plot([])
    with pytest.raises(ValueError, match=r"`records` must have one with .*Got none"):
        plot([Record(step=0, names=("a",), losses=torch.ones(1))])


@pytest.mark.parametrize("plot", [plot_weights, plot_cosines])
def test_records_of_other_objectives_are_not_mixed(plot):
    mixed = [recorded(2).last, recorded(3).last]
    with pytest.raises(ValueError, match=r"`records` must be of the same .*Got \['0', '1'\]"):
        plot(mixed)


def test_without_matplotlib_all_but_plots_works():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import torch, torchjd.monitor as monitor\n"
        "record = monitor.Record(step=0, names=('a',), scaled_gramian=torch.eye(1))\n"
        "try: monitor.plot_cosines(record)\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "jd-core[plots]"' in done.stdout


def test_nothing_is_imported_before_it_is_needed():
    code = (
        "import sys, torchjd\n"
        "assert 'torchjd.monitor' not in sys.modules\n"
        "import torchjd.monitor\n"
        "assert not {'matplotlib', 'tensorboard', 'jd_aggregators'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
