"""What is saved and loaded continues as if nothing had happened, bit for bit."""

import copy
import pickle

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision

from jd_amp import JacobianScaler

from .nets import Remembering, TwoTasks, adam, assert_same, batches, loader


class Logging(TwoTasks):
    """Its class and its methods can be found by name, for pickles and for checkpoints."""

    def __init__(self):
        super().__init__(Remembering, adam, scheduler=halving)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss)
        return loss


class Validated(Logging):
    def validation_step(self, batch, batch_idx):
        losses, _ = self.losses(batch)
        self.log("validation", self.objectives(losses))


def halving(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


class Registered(Logging):
    """The aggregator is a submodule already."""

    def __init__(self):
        super().__init__()
        self.aggregator = Remembering()

    def configure_aggregator(self):
        return self.aggregator


class OwnSetup(Logging):
    """What it does not call has no part in it."""

    def setup(self, stage):
        pass


def stock():
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", 256.0, growth_interval=3))


def per_objective():
    return MixedPrecision("16-mixed", "cpu", JacobianScaler("cpu", 256.0, growth_interval=3))


def full():
    return None


def everything(trainer, net):
    """Return what decides how training goes on."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return {
        "module": net.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict()["state"],
        "rate": trainer.optimizers[0].param_groups[0]["lr"],
        "scaler": {} if scaler is None else scaler.state_dict(),
    }


def flat(state, name=""):
    if isinstance(state, dict):
        return {k: v for key in state for k, v in flat(state[key], f"{name}/{key}").items()}
    return {name: state}


def assert_equal(found, expected):
    found, expected = flat(found), flat(expected)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(torch.as_tensor(found[key]), torch.as_tensor(value)), key


@pytest.mark.parametrize("plugin", [full, stock, per_objective])
@pytest.mark.parametrize("kind", [Logging, Registered, OwnSetup])
def test_a_fit_that_is_resumed_ends_where_the_whole_one_does(trainer, tmp_path, kind, plugin):
    def run(net, epochs, **options):
        fit = trainer(max_epochs=epochs, accumulate_grad_batches=2, plugins=plugin())
        fit.fit(net, loader(), **options)
        return fit

    whole, first, second = kind(), kind(), kind()
    for parameter in second.parameters():
        torch.nn.init.ones_(parameter)
    uninterrupted = everything(run(whole, 4), whole)
    run(first, 2).save_checkpoint(tmp_path / "half.ckpt")
    resumed = everything(run(second, 4, ckpt_path=tmp_path / "half.ckpt"), second)

    assert_equal(resumed, uninterrupted)
    assert {key.rsplit(".")[-1] for key in flat(uninterrupted)} >= {"calls", "scale"}


@pytest.mark.parametrize("kind", [Logging, Registered])
def test_a_model_is_loaded_with_its_aggregator(trainer, tmp_path, kind):
    net = kind()
    fit = trainer()
    fit.fit(net, loader())
    fit.save_checkpoint(tmp_path / "it.ckpt")
    loaded = kind.load_from_checkpoint(tmp_path / "it.ckpt")

    assert_equal(loaded.state_dict(), net.state_dict())
    (aggregator,) = [m for m in loaded.modules() if isinstance(m, Remembering)]
    assert aggregator.calls == 6


def test_the_state_is_complete_before_any_step():
    fresh, other = Logging(), Logging()
    names = list(fresh.state_dict())

    assert sum(name.endswith("calls") for name in names) == 1
    other.load_state_dict(fresh.state_dict(), strict=True)
    assert list(other.state_dict()) == names


def test_what_is_a_submodule_already_is_saved_once():
    names = list(Registered().state_dict())

    assert [name for name in names if name.endswith("calls")] == ["aggregator.calls"]


def test_the_aggregator_is_where_the_module_is():
    net = Logging().to("meta")

    assert all(value.is_meta for value in net.state_dict().values())


def test_a_checkpoint_is_written_before_any_step(trainer, tmp_path):
    fit = trainer(limit_train_batches=0)
    fit.fit(Logging(), loader())
    fit.save_checkpoint(tmp_path / "none.ckpt")
    loaded = Logging.load_from_checkpoint(tmp_path / "none.ckpt")

    assert_same(loaded, Logging())


def test_one_aggregator_serves_all_steps_and_is_one_submodule(trainer):
    made = []

    def make():
        made.append(Remembering())
        return made[-1]

    net = TwoTasks(make)
    trainer().fit(net, loader())
    trainer().fit(net, loader())

    assert len(made) == 1
    assert [m for m in net.modules() if isinstance(m, Remembering)] == made
    assert net.aggregator_in_use is made[0]
    assert made[0].calls == 12


class Plain(TwoTasks):
    configure_aggregator = TwoTasks.__bases__[0].configure_aggregator

    def training_step(self, batch, batch_idx):
        return sum(self.losses(batch)[0])


def test_a_module_without_objectives_needs_no_aggregator(trainer, tmp_path):
    net = Plain()
    fit = trainer()
    fit.fit(net, loader())
    fit.save_checkpoint(tmp_path / "plain.ckpt")

    assert_same(Plain.load_from_checkpoint(tmp_path / "plain.ckpt"), net)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("fits", [0, 1])
def test_copies_are_whole_and_independent(trainer, fits, copied):
    net = Logging()
    if fits:
        trainer(accumulate_grad_batches=2).fit(net, loader())
    twin = copied(net)
    assert_equal(twin.state_dict(), net.state_dict())

    before = copy.deepcopy(net.state_dict())
    trainer(max_epochs=1).fit(twin, loader())
    assert_equal(net.state_dict(), before)
    trainer(max_epochs=1).fit(net, loader())
    assert_equal(twin.state_dict(), net.state_dict())


def test_callbacks_and_loggers_do_what_they_do(trainer, tmp_path):
    kept = ModelCheckpoint(tmp_path / "kept", monitor="validation", save_last=True)
    fit = trainer(
        callbacks=[kept, LearningRateMonitor()],
        enable_checkpointing=True,
        log_every_n_steps=1,
        logger=CSVLogger(tmp_path),
        max_epochs=2,
    )
    net = Validated()
    fit.fit(net, loader(), loader(batches(count=2)))

    expected = sum(sum(net.losses(batch)[0]) / 2 for batch in batches(count=2)) / 2
    torch.testing.assert_close(fit.callback_metrics["validation"], expected.detach())
    lines = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()
    assert {"loss", "validation", "lr-Adam"} <= set(lines[0].split(","))
    assert len(lines) > 12
    assert (tmp_path / "kept/last.ckpt").exists()
    assert_same(Validated.load_from_checkpoint(tmp_path / "kept/last.ckpt"), net)
    assert fit.global_step == 12


class Shown(TwoTasks):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("joint", loss, prog_bar=True)
        return loss


def test_the_progress_bar_shows_the_loss(trainer, capsys):
    net = Shown()
    trainer(enable_progress_bar=True, callbacks=[TQDMProgressBar()]).fit(net, loader())

    assert "joint=" in "".join(capsys.readouterr())
