"""The conflict monitor: when it logs, and that it changes and leaves nothing."""

import pickle
from functools import partial
from itertools import pairwise

import pytest
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from jd_lightning import ConflictMonitor
from torchjd.aggregation._observers import OBSERVED

from .nets import Remembering, TwoTasks, adam, assert_same, batches, by_loss, even, loader, min_norm
from .watching import Notebook, watch


@pytest.fixture
def watched(trainer):
    return partial(watch, trainer)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("aggregator", [even, min_norm, Remembering, by_loss])
def test_training_is_the_same_bit_for_bit(trainer, watched, aggregator, optimizer, accumulate):
    made = {"optimizer": adam} if optimizer == "adam" else {}
    options = {"max_epochs": 2, "accumulate_grad_batches": accumulate}
    alone, seen = TwoTasks(aggregator, **made), TwoTasks(aggregator, **made)
    trainer(**options).fit(alone, loader())
    notebook = watched(seen, **options)
    assert_same(seen, alone)
    assert notebook.pages


# log_every_n_steps, accumulate_grad_batches -> the Trainer's steps of two epochs of 7 batches
WRITTEN = {(1, 1): [*range(14)], (5, 1): [4, 9], (1, 3): [*range(6)], (2, 3): [1, 3, 5]}


@pytest.mark.parametrize(("every", "accumulate"), WRITTEN)
def test_it_is_written_when_all_else_is(watched, every, accumulate):
    """Aggregations are counted, not batches."""
    options = {"log_every_n_steps": every, "accumulate_grad_batches": accumulate}
    notebook = watched(TwoTasks(), batches(7), max_epochs=2, **options)
    assert notebook.steps == WRITTEN[every, accumulate]


class Looking(Callback):
    """Note what the progress bar would show after each batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append({k for k in trainer.progress_bar_metrics if k.startswith("jd/")})


def test_the_progress_bar_shows_the_conflict_rate_from_the_first_step_on(trainer):
    looking = Looking()
    monitor = ConflictMonitor(heatmap_every_n_epochs=None)
    trainer(callbacks=[monitor, looking], logger=False).fit(TwoTasks(), loader())
    assert looking.seen == [set()] + [{"jd/conflict_rate"}] * 5


def test_every_thins_the_records(watched):
    net = TwoTasks()
    monitor = ConflictMonitor(4, heatmap_every_n_epochs=None)
    notebook = watched(net, batches(9), monitor=monitor)
    # What was logged last in an epoch is what the Trainer writes again.
    changes = [0] + [
        step for (_, a), (step, b) in pairwise(notebook.pages) if a != b and step is not None
    ]
    assert changes == [0, 4, 8]


class Changing(TwoTasks):
    """From its second epoch on, it aggregates otherwise."""

    def __init__(self):
        super().__init__()
        self.aggregator = min_norm()

    def configure_aggregator(self):
        return self.aggregator

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.aggregator = even()


def test_another_aggregator_is_followed(watched):
    first = [page["jd/weight/first"] for _, page in watched(Changing(), max_epochs=2).pages]
    assert 0.5 not in first[:6]
    assert first[6:] == [0.5] * 6


class Stopping(TwoTasks):
    def on_before_optimizer_step(self, optimizer):
        raise RuntimeError("The optimizer is on fire.")


@pytest.mark.parametrize("net", [TwoTasks, Stopping])
def test_nothing_is_left_behind(watched, net):
    monitor = ConflictMonitor(1, heatmap_every_n_epochs=None)
    if net is Stopping:
        with pytest.raises(RuntimeError, match="on fire"):
            watched(net(), monitor=monitor)
    else:
        watched(net(), monitor=monitor, fast_dev_run=True)
    assert not OBSERVED.in_use
    assert isinstance(pickle.loads(pickle.dumps(monitor)), ConflictMonitor)


def test_one_trainer_after_another(watched):
    monitor = ConflictMonitor(1, heatmap_every_n_epochs=None)
    runs = [watched(TwoTasks(), monitor=monitor, log_every_n_steps=4).pages for _ in range(2)]
    assert runs[0] == runs[1]
    assert [step for step, _ in runs[0]] == [3]


def test_resumed_from_a_checkpoint_it_logs_as_if_never_interrupted(trainer, tmp_path):
    def fit(epochs, path=None):
        notebook = Notebook()
        monitor = ConflictMonitor(1, heatmap_every_n_epochs=None)
        options = {"logger": notebook, "log_every_n_steps": 4, "max_epochs": epochs}
        made = trainer(callbacks=[monitor], **options)
        made.fit(TwoTasks(), loader(batches(7)), ckpt_path=path)
        made.save_checkpoint(tmp_path / "last.ckpt")
        return notebook.pages

    whole = fit(2)
    begun = fit(1)
    resumed = fit(2, tmp_path / "last.ckpt")
    assert [step for step, _ in whole] == [3, 7, 11]
    assert begun + resumed == whole


def test_two_monitors_of_one_trainer(trainer):
    notebook = Notebook()
    quiet = {"heatmap_every_n_epochs": None}
    monitors = [ConflictMonitor(1, prefix=f"jd/{name}", **quiet) for name in ("a", "b")]
    trainer(callbacks=monitors, logger=notebook, log_every_n_steps=1).fit(
        TwoTasks(), loader(batches(1))
    )
    ((_, page),) = notebook.pages
    assert {key.split("/")[1] for key in page} == {"a", "b"}
    assert page["jd/a/norm/first"] == page["jd/b/norm/first"]


def test_it_writes_to_the_csv_logger(trainer, tmp_path):
    made = trainer(
        callbacks=[ConflictMonitor(1, heatmap_every_n_epochs=None)],
        logger=CSVLogger(tmp_path, "", ""),
        log_every_n_steps=1,
    )
    made.fit(TwoTasks(), loader())
    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(lines) == 6
    assert "jd/conflict_rate" in header.split(",")
