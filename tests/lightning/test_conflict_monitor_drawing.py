"""The conflict monitor: what it draws, when, and of what."""

import sys
from functools import partial

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from jd_lightning import ConflictMonitor

from .nets import TwoTasks, batches, even, loader, min_norm
from .watching import ByHand, Many, Notebook, Samples, watch


@pytest.fixture
def watched(trainer):
    return partial(watch, trainer)


PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def shown(monkeypatch):
    """Return the list of what is drawn, matplotlib or not."""
    records = []
    monkeypatch.setattr("jd_lightning._conflict_monitor.draw", lambda *a: records.append(a[0]))
    monkeypatch.setattr("jd_lightning._conflict_monitor.can_draw", lambda: True)
    return records


def drawn(folder):
    found = sorted(folder.rglob("*.png"))
    assert all(path.read_bytes().startswith(PNG) for path in found)
    return [str(path.relative_to(folder)) for path in found]


# every n-th epoch -> what three epochs draw
PICTURES = {
    1: ["cosines-epoch=0000.png", "cosines-epoch=0001.png", "cosines-epoch=0002.png"],
    2: ["cosines-epoch=0001.png"],
    None: [],
}


@pytest.mark.parametrize("every", PICTURES)
def test_epochs_are_drawn(trainer, tmp_path, every):
    pytest.importorskip("matplotlib")
    monitor = ConflictMonitor(heatmap_every_n_epochs=every, dirpath=tmp_path / "pictures")
    trainer(callbacks=[monitor], max_epochs=3).fit(TwoTasks(), loader(batches(2)))
    assert drawn(tmp_path) == [f"pictures/{name}" for name in PICTURES[every]]


@pytest.mark.parametrize(
    ("logger", "folder"), [(None, "conflicts"), ("csv", "name/version_0/conflicts")]
)
def test_where_pictures_go(trainer, tmp_path, logger, folder):
    pytest.importorskip("matplotlib")
    chosen = CSVLogger(tmp_path, "name") if logger else False
    made = trainer(callbacks=[ConflictMonitor()], logger=chosen, log_every_n_steps=1)
    made.fit(TwoTasks(), loader(batches(2)))
    assert drawn(tmp_path) == [f"{folder}/cosines-epoch=0000.png"]


@pytest.mark.parametrize("net", [Samples, Many], ids=["samples", "none after a trial"])
def test_when_nothing_is_drawn(trainer, tmp_path, net):
    pytest.importorskip("matplotlib")
    made = net() if net is Samples else net(2)
    trial = {} if net is Samples else {"fast_dev_run": True}
    trainer(callbacks=[ConflictMonitor()], **trial).fit(made, loader(batches(2)))
    assert drawn(tmp_path) == []


def test_the_picture_is_of_the_mean_over_the_epoch(trainer, shown):
    notebook = Notebook()
    options = {"logger": notebook, "log_every_n_steps": 1, "max_epochs": 2}
    trainer(callbacks=[ConflictMonitor(1)], **options).fit(TwoTasks(), loader())
    cosines = [page["jd/cosine/first/second"] for _, page in notebook.pages]
    for epoch, record in enumerate(shown):
        mean = sum(cosines[6 * epoch : 6 * epoch + 6]) / 6
        expected = torch.tensor([[1.0, mean], [mean, 1.0]], dtype=torch.float64)
        torch.testing.assert_close(record.cosines, expected)
        assert record.names == ("first", "second")
    assert len(shown) == 2


def test_tensorboard_gets_numbers_and_pictures(trainer, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, "")
    made = trainer(callbacks=[ConflictMonitor()], logger=logger, log_every_n_steps=1)
    made.fit(TwoTasks(), loader(batches(3)))
    events = EventAccumulator(logger.log_dir).Reload()
    assert len(events.Scalars("jd/norm/second")) == 3
    (picture,) = events.Images("jd/cosines")
    assert (picture.step, picture.encoded_image_string[:8]) == (3, PNG)


def test_without_matplotlib_all_else_works_and_a_warning_says_so_once(
    watched, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monitor = ConflictMonitor(1)
    with pytest.warns(UserWarning, match=r'`pip install "jd-core\[plots\]"`') as caught:
        first = watched(TwoTasks(), monitor=monitor)
    assert len([w for w in caught if "matplotlib" in str(w.message)]) == 1
    assert watched(TwoTasks(), monitor=monitor).pages == first.pages
    assert len(first.pages) == 6
    assert drawn(tmp_path) == []


class Validating(ByHand):
    """Its validation aggregates the identity, whose rows are at right angles."""

    def validation_step(self, batch, batch_idx):
        self.aggregator(torch.eye(2))


def test_validation_is_not_recorded(watched, shown):
    aggregator = min_norm()
    monitor = ConflictMonitor(1, aggregator=aggregator)
    options = {"val_check_interval": 1, "num_sanity_val_steps": 1}
    data = {"data": batches(3), "validation": loader(batches(2))}
    notebook = watched(Validating(aggregator), monitor=monitor, **data, **options)
    cosines = [page["jd/cosine/0/1"] for _, page in notebook.pages]
    assert len(cosines) == 3
    assert 0.0 not in cosines
    assert float(shown[0].cosines[0, 1]) == pytest.approx(sum(cosines) / 3)


class Sometimes(ByHand):
    """On a GPU a step is skipped without a look at its gradients: the aggregator is given NaN."""

    def training_step(self, batch, batch_idx):
        value = torch.nan if batch_idx == 1 else 1.0
        self.aggregator(torch.tensor([[value, 0.0], [value, batch_idx + 1.0]]))


def test_gradients_that_are_not_finite_leave_no_trace(watched, shown):
    aggregator = even()
    notebook = watched(
        Sometimes(aggregator), batches(3), monitor=ConflictMonitor(1, aggregator=aggregator)
    )
    lengths = [page["jd/norm/1"] for _, page in notebook.pages]
    assert lengths == pytest.approx([2**0.5, 2**0.5, 10**0.5])
    (mean,) = shown
    assert float(mean.cosines[0, 1]) == pytest.approx((2**-0.5 + 10**-0.5) / 2)
