"""The conflict monitor: what it logs, in every way of training."""

from functools import partial

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from jd_lightning import ConflictMonitor
from torchjd.autogram import Engine

from .nets import Even, MinNorm, TwoTasks, assert_same, batches, even, loader, min_norm
from .watching import ByHand, Many, Samples, assert_close, jacobian, watch


@pytest.fixture
def watched(trainer):
    return partial(watch, trainer)


def test_what_is_logged_is_what_the_gradients_are(watched):
    class Noting(TwoTasks):
        expected = []

        def on_train_batch_start(self, batch, batch_idx):
            losses, _ = self.losses(batch)
            J = jacobian(losses, list(self.trunk.parameters()))
            w = MinNorm()(J @ J.T)
            falls = 0.1 * J @ (J.T @ w)
            cosine = torch.nn.functional.cosine_similarity(J[0], J[1], dim=0)
            self.expected.append(
                {
                    "jd/conflict_rate": float(cosine < 0),
                    "jd/cosine/first/second": float(cosine),
                    "jd/norm/first": float(J[0].norm()),
                    "jd/norm/second": float(J[1].norm()),
                    "jd/predicted_decrease/first": float(falls[0]),
                    "jd/predicted_decrease/second": float(falls[1]),
                    "jd/weight/first": float(w[0]),
                    "jd/weight/second": float(w[1]),
                }
            )

    net = Noting()
    notebook = watched(net)
    assert notebook.steps == list(range(6))
    for (_, found), expected in zip(notebook.pages, net.expected, strict=True):
        assert_close(found, expected)
    assert {page["jd/conflict_rate"] for _, page in notebook.pages} == {0.0, 1.0}


def test_a_learning_rate_of_zero_and_schedules_are_followed(watched):
    def warm_up(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 2)

    pages = [page for _, page in watched(TwoTasks(scheduler=warm_up)).pages]
    falls = [page["jd/predicted_decrease/second"] for page in pages]
    # w (J J^T w) does not depend on the rate: what is left is the schedule.
    assert falls[0] == 0.0
    assert all(fall != 0.0 for fall in falls[1:])


def test_a_record_of_accumulated_batches_is_of_their_mean(watched):
    """Two batches and one of twice the size give the same record."""
    data = batches(4, size=8)
    halves = [[part[s] for part in batch] for batch in data for s in (slice(4), slice(4, 8))]
    whole = watched(TwoTasks(), data)
    parts = watched(TwoTasks(), halves, accumulate_grad_batches=2)
    assert whole.steps == parts.steps == [0, 1, 2, 3]
    for (_, found), (_, expected) in zip(parts.pages, whole.pages, strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize(("count", "pairs"), [(1, 0), (8, 28), (9, 0)])
def test_pairs_are_logged_up_to_eight_objectives(watched, count, pairs):
    ((_, page), *_) = watched(Many(count), batches(1)).pages
    assert sum(key.startswith("jd/cosine/") for key in page) == pairs
    assert sum(key.startswith("jd/norm/") for key in page) == count
    assert sum(key.startswith("jd/weight/") for key in page) == count
    assert f"jd/norm/{count - 1}" in page


def test_of_samples_a_summary_is_logged(watched, tmp_path):
    net, data = Samples(), batches(2, size=5)
    losses = (net.layer(data[0][0]) - data[0][1]).square()[:, 0]
    J = jacobian(losses, list(net.parameters()))
    below = (J @ J.T)[torch.ones(5, 5).tril(-1).bool()]
    norms = J.norm(dim=1)
    expected = {
        "jd/conflict_rate": float((below < 0).float().mean()),
        "jd/norm/max": float(norms.max()),
        "jd/norm/mean": float(norms.mean()),
        "jd/norm/min": float(norms.min()),
    }
    monitor = ConflictMonitor(dirpath=tmp_path / "drawn", heatmap_every_n_epochs=None)
    ((_, page), *rest) = watched(net, data, monitor=monitor).pages
    assert_close(page, expected)
    assert len(rest) == 1


def test_a_module_of_its_own_in_manual_optimisation(trainer, watched):
    aggregator = min_norm()
    monitor = ConflictMonitor(
        1, aggregator=aggregator, names=["first", "second"], heatmap_every_n_epochs=None
    )
    alone, seen = ByHand(min_norm()), ByHand(aggregator)
    trainer().fit(alone, loader())
    notebook = watched(seen, monitor=monitor)
    automatic = watched(TwoTasks(optimizer=lambda p: torch.optim.SGD(p, lr=0.1)))
    assert_same(seen.net, alone.net)
    assert notebook.steps == automatic.steps
    for (_, found), (_, expected) in zip(notebook.pages, automatic.pages, strict=True):
        assert_close(found, expected)


def test_an_engine_or_a_weighting_may_be_given(watched):
    class Sampled(ByHand):
        def __init__(self, weighting):
            super().__init__(None)
            self.weighting = weighting
            self.engine = Engine(self.net.trunk, batch_dim=0)

        def training_step(self, batch, batch_idx):
            losses = self.net.trunk(batch[0]).square().sum(dim=1)
            self.optimizers().zero_grad()
            self.engine.backward(losses, self.weighting)
            self.optimizers().step()

    keys = {f"jd/{key}" for key in ("conflict_rate", "norm/max", "norm/mean", "norm/min")}
    for choose in (lambda net: net.weighting, lambda net: net.engine):
        net = Sampled(Even())
        monitor = ConflictMonitor(1, aggregator=choose(net), heatmap_every_n_epochs=None)
        notebook = watched(net, monitor=monitor)
        assert len(notebook.pages) == 6
        assert all(page.keys() == keys for _, page in notebook.pages)


def test_another_module_needs_to_be_told(trainer):
    with pytest.raises(TypeError, match=r"`aggregator` must be given .* Got None, with a ByHand"):
        trainer(callbacks=[ConflictMonitor()]).fit(ByHand(even()), loader())


class Overflowing(TwoTasks):
    """Its second batch overflows float16."""

    def training_step(self, batch, batch_idx):
        (first, second), _ = self.losses(batch)
        return self.objectives([first, second * (1e38 if batch_idx == 1 else 1.0)])


def test_steps_that_the_scaler_skips_are_not_logged(watched):
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    half = MixedPrecision("16-mixed", "cpu", scaler)
    notebook = watched(Overflowing(), plugins=[half])
    norms = [page["jd/norm/0"] for _, page in notebook.pages]
    assert notebook.steps == list(range(6))
    assert norms[1] == norms[0]  # written again, as everything that is logged
    assert len(set(norms)) == 5


def test_records_are_of_the_true_gradients_in_half_precision(watched):
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    half = watched(TwoTasks(), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    for (_, found), (_, expected) in zip(half.pages, watched(TwoTasks()).pages, strict=True):
        assert found["jd/norm/first"] == pytest.approx(expected["jd/norm/first"], rel=2e-2)
        assert found["jd/weight/first"] == pytest.approx(expected["jd/weight/first"], rel=5e-2)


WRONG = [
    ({"every": 0}, ValueError, r"`every` must be at least 1, or None. Got 0."),
    ({"every": 1.5}, TypeError, r"`every` must be an integer or None. Got 1.5."),
    ({"every": True}, TypeError, r"`every` must be an integer or None. Got True."),
    ({"heatmap_every_n_epochs": -1}, ValueError, r"`heatmap_every_n_epochs` .* Got -1."),
    ({"aggregator": Even}, TypeError, r"`aggregator` .* Got the class Even."),
    ({"aggregator": "UPGrad"}, TypeError, r"`aggregator` .* Got 'UPGrad'."),
    ({"names": "ab"}, TypeError, r"`names` must be a sequence of str.* Got 'ab'."),
    ({"names": [1]}, TypeError, r"`names` must be a sequence of str.* Got \[1\]."),
    ({"dirpath": 3}, TypeError, r"`dirpath` must be a path or None. Got 3."),
    ({"prefix": None}, TypeError, r"`prefix` must be a str. Got None."),
    ({"prefix": ""}, ValueError, r"`prefix` must not be empty"),
    ({"prefix": "jd/"}, ValueError, r"`prefix` must not .* end with a slash"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_arguments_are_checked_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        ConflictMonitor(**arguments)
