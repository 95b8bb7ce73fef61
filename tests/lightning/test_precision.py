"""Half precision: near what float32 does, and steps that overflow are left out."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from jd_amp import JacobianScaler

from .nets import (
    Remembering,
    TwoTasks,
    adam,
    assert_same,
    batches,
    by_hand,
    even,
    largest_difference,
    loader,
    min_norm,
)

SCALERS = [torch.amp.GradScaler, JacobianScaler]
# How far six steps of size 0.1 may lead apart that start from values rounded to this precision.
CLOSE = {"16-mixed": 3e-3, "bf16-mixed": 3e-2}


def float16(scaler, **options):
    # On the CPU, `Trainer(precision="16-mixed")` is bfloat16 in disguise.
    return MixedPrecision("16-mixed", "cpu", scaler("cpu", **options))


@pytest.mark.parametrize("features", [False, True], ids=["found", "given"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("aggregator", [min_norm, Remembering])
def test_float16_is_near_float32(trainer, aggregator, scaler, accumulate, features):
    net = TwoTasks(aggregator, features=features)
    fit = trainer(plugins=float16(scaler, init_scale=256.0), accumulate_grad_batches=accumulate)
    fit.fit(net, loader())

    expected = by_hand(TwoTasks(aggregator), batches(), accumulate=accumulate)
    assert 0 < largest_difference(net, expected) < CLOSE["16-mixed"]


@pytest.mark.parametrize("scaler", SCALERS)
def test_what_is_clipped_is_not_scaled(trainer, scaler):
    class Watched(TwoTasks):
        lengths = []

        def on_train_batch_start(self, batch, batch_idx):
            self.before = torch.nn.utils.parameters_to_vector(self.parameters()).detach().clone()

        def on_train_batch_end(self, outputs, batch, batch_idx):
            now = torch.nn.utils.parameters_to_vector(self.parameters()).detach()
            self.lengths.append(float((now - self.before).norm()))

        def on_before_optimizer_step(self, optimizer):
            assert all(p.grad is not None for p in self.parameters())

    net = Watched(optimizer=plain)
    fit = trainer(plugins=float16(scaler, init_scale=256.0), gradient_clip_val=0.25)
    fit.fit(net, loader())

    assert Watched.lengths == pytest.approx([0.25] * 6, rel=1e-3)


def plain(parameters):
    return torch.optim.SGD(parameters, lr=1.0)


class Overflowing(TwoTasks):
    """The second objective leaves the range of half precision in the third batch."""

    def losses(self, batch):
        (first, second), features = super().losses(batch)
        huge = 1e30 if bool(batch[2].abs().max() > 100) else 1.0
        return [first, second * huge * huge], features


def overflowing():
    data = batches()
    data[2][2] = data[2][2] + 1000
    return data


def without_third():
    data = batches()
    return data[:2] + data[3:]


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("aggregator", [min_norm, Remembering])
def test_a_step_that_overflows_is_skipped_and_the_scale_backs_off(trainer, aggregator, scaler):
    net, other = Overflowing(aggregator, adam), Overflowing(aggregator, adam)
    fit = trainer(plugins=float16(scaler, init_scale=256.0))
    fit.fit(net, loader(overflowing()))
    unharmed = trainer(plugins=float16(scaler, init_scale=256.0))
    unharmed.fit(other, loader(without_third()))

    # The scale, a power of two, is all that is different.
    assert largest_difference(net, other) < CLOSE["16-mixed"]
    assert all(torch.isfinite(p).all() for p in net.parameters())
    scale = fit.precision_plugin.scaler
    if scaler is JacobianScaler:
        assert scale.scales().tolist() == [256.0, 128.0]
    else:
        assert scale.get_scale() == 128.0
    remembering = [m for m in net.modules() if isinstance(m, Remembering)]
    assert [int(m.calls) for m in remembering] == [5] * len(remembering)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true"])
def test_half_precision_without_a_scaler_learns(trainer, precision, accumulate):
    net = TwoTasks(even)
    trainer(precision=precision, accumulate_grad_batches=accumulate).fit(net, loader())

    expected = by_hand(TwoTasks(even), batches(), accumulate=accumulate)
    assert 0 < largest_difference(net.float(), expected) < CLOSE["bf16-mixed"]


def test_bfloat16_skips_what_is_not_finite(trainer):
    net, other = Overflowing(Remembering, adam), Overflowing(Remembering, adam)
    with pytest.warns(UserWarning, match="A step was skipped.*not finite"):
        trainer(precision="bf16-mixed").fit(net, loader(overflowing()))
    trainer(precision="bf16-mixed").fit(other, loader(without_third()))

    assert_same(net, other)
    assert (net.skipped_steps, other.skipped_steps) == (1, 0)


class Sparse(Overflowing):
    """The first head has an embedding whose gradient is sparse."""

    def __init__(self):
        super().__init__(optimizer=descent)
        self.embedding = torch.nn.Embedding(3, 1, sparse=True)

    def losses(self, batch):
        (first, second), features = super().losses(batch)
        scale = torch.inf if bool(batch[2].abs().max() > 100) else 1.0
        added = scale * self.embedding(torch.tensor([0, 2, 2])).sum()
        return [first + added, second], features


def descent(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def test_bfloat16_looks_into_sparse_gradients(trainer):
    net = Sparse()
    with pytest.warns(UserWarning, match="A step was skipped"):
        trainer(precision="bf16-mixed").fit(net, loader(overflowing()))

    assert net.skipped_steps == 1
    assert torch.isfinite(net.embedding.weight).all()
    assert not torch.equal(net.embedding.weight, Sparse().embedding.weight)


def test_bfloat16_says_once_that_it_skips(trainer):
    data = overflowing()
    net = Overflowing()
    with pytest.warns(UserWarning, match="A step was skipped") as told:
        trainer(precision="bf16-mixed").fit(net, loader([data[2]] * 3))

    assert sum("A step was skipped" in str(each.message) for each in told) == 1
    assert net.skipped_steps == 3
    assert_same(net, Overflowing())


def test_in_float32_what_is_not_finite_comes_out(trainer):
    net = Overflowing()
    trainer().fit(net, loader(overflowing()))

    assert all(torch.isnan(p).all() for p in net.trunk.parameters())


class PlainOverflow(TwoTasks):
    def training_step(self, batch, batch_idx):
        return sum(self.losses(batch)[0]) * torch.inf


def test_plain_steps_are_left_to_lightning(trainer):
    net = PlainOverflow()
    trainer(precision="bf16-mixed").fit(net, loader())

    assert net.skipped_steps == 0
    assert not all(torch.isfinite(p).all() for p in net.parameters())
