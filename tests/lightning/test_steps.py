"""Steps without objectives, steps that fail, and what stays behind: nothing."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from jd_amp import JacobianScaler
from torchjd.autojac import jac_to_grad, mtl_backward

from .nets import (
    Remembering,
    TwoTasks,
    adam,
    assert_moved,
    assert_same,
    batches,
    by_hand,
    loader,
    min_norm,
    sum_by_hand,
    without_first_layer,
)

RETURNS_NONE = "ignore:`training_step` returned `None`:"


class Leaving(TwoTasks):
    """Leaves batches out, before or after it asked for the objectives."""

    left_out = (1, 3)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx in self.left_out else loss


@pytest.mark.filterwarnings(RETURNS_NONE)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_that_returns_none_is_left_out(trainer, optimizer):
    net = Leaving(optimizer=lambda parameters: optimizer(parameters, lr=0.05))
    trainer().fit(net, loader())

    other = TwoTasks(optimizer=net.make_optimizer)
    kept = [batch for i, batch in enumerate(batches()) if i not in Leaving.left_out]
    assert_same(net, by_hand(other, kept))


class LeavingTheFirst(Leaving):
    left_out = (0,)


@pytest.mark.filterwarnings(RETURNS_NONE)
@pytest.mark.parametrize("net", [Leaving, LeavingTheFirst])
def test_none_while_batches_accumulate_adds_nothing(trainer, net):
    class Zero(TwoTasks):  # a loss of which everything is zero, in place of none
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return 0.0 * loss if batch_idx in net.left_out else loss

    left, zero = net(), Zero()
    trainer(accumulate_grad_batches=2).fit(left, loader())
    trainer(accumulate_grad_batches=2).fit(zero, loader())

    assert_same(left, zero)
    assert_moved(left)


@pytest.mark.filterwarnings(RETURNS_NONE)
@pytest.mark.parametrize("scaler", [torch.amp.GradScaler, JacobianScaler])
def test_with_a_scaler_none_leaves_out_the_batches_before_it(trainer, scaler):
    class LeavingTheLast(Leaving):
        left_out = (3,)  # of the second of three pairs

    def fit(net, data):
        plugin = MixedPrecision("16-mixed", "cpu", scaler("cpu", init_scale=256.0))
        trainer(plugins=plugin, accumulate_grad_batches=2).fit(net, loader(data))

    left, kept = LeavingTheLast(Remembering), TwoTasks(Remembering)
    fit(left, batches())
    fit(kept, batches()[:2] + batches()[4:])

    # As in Lightning, the gradients of the third batch are cleared: no step follows.
    assert_same(left, kept)
    for got, expected in zip(left.buffers(), kept.buffers(), strict=True):
        assert torch.equal(got, expected)


class Alternating(TwoTasks):
    def training_step(self, batch, batch_idx):
        if batch_idx % 2:
            return sum(self.losses(batch)[0])
        return super().training_step(batch, batch_idx)


def alternating_by_hand(net, data, *, accumulate):
    optimizer = net.make_optimizer(net.parameters())
    aggregator = net.make_aggregator()
    for i, batch in enumerate(data):
        losses, features = net.losses(batch)
        if i % 2:
            (sum(losses) / accumulate).backward()
        else:
            scale = [torch.tensor(1 / accumulate)] * 2
            mtl_backward(losses, features, grad_tensors=scale)
        if (i + 1) % accumulate == 0:
            shared = [p for p in net.trunk.parameters() if getattr(p, "jac", None) is not None]
            if shared:
                jac_to_grad(shared, aggregator)
            optimizer.step()
            optimizer.zero_grad()
    return net


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ordinary_steps_alternate_with_others(trainer, accumulate):
    net = Alternating()
    trainer(accumulate_grad_batches=accumulate).fit(net, loader())

    assert_same(net, alternating_by_hand(TwoTasks(), batches(), accumulate=accumulate))


class Ordinary(TwoTasks):
    def training_step(self, batch, batch_idx):
        return {"loss": sum(self.losses(batch)[0])}


def test_ordinary_steps_are_lightnings_own(trainer):
    net = Ordinary()
    trainer().fit(net, loader())
    assert_same(net, sum_by_hand(TwoTasks()))


class Failing(TwoTasks):
    """Fails at a place of the fourth batch, once."""

    place = None
    passing = False

    def fail(self, place, batch_idx):
        if place == self.place and batch_idx == 3 and not self.passing:
            type(self).passing = True
            raise FloatingPointError(place)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.fail("step", batch_idx)
        self.number = batch_idx
        return loss

    def on_after_backward(self):
        self.fail("after backward", self.number)

    def on_before_optimizer_step(self, optimizer):
        self.fail("before step", self.number)


class FailingAggregator(Remembering):
    def forward(self, matrix, /):
        if self.calls == 3 and not Failing.passing:
            Failing.passing = True
            raise FloatingPointError("aggregator")
        return super().forward(matrix)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("place", ["step", "after backward", "before step"])
def test_a_fit_that_was_aborted_leaves_nothing_behind(trainer, monkeypatch, place, accumulate):
    monkeypatch.setattr(Failing, "place", place)
    monkeypatch.setattr(Failing, "passing", False)
    net = Failing(Remembering, adam)
    with pytest.raises(FloatingPointError, match=place):
        trainer(accumulate_grad_batches=accumulate).fit(net, loader())

    # From the same state, the next fit is that of a module that never failed.
    other = TwoTasks(Remembering, adam)
    other.load_state_dict(net.state_dict())
    trainer(accumulate_grad_batches=accumulate).fit(net, loader())
    trainer(accumulate_grad_batches=accumulate).fit(other, loader())
    assert_same(net, other)
    assert not any(hasattr(p, "jac") for p in net.parameters())


def test_an_aggregator_that_fails_leaves_no_jacobian(trainer, monkeypatch):
    monkeypatch.setattr(Failing, "passing", False)
    net = TwoTasks(FailingAggregator)
    with pytest.raises(FloatingPointError, match="aggregator"):
        trainer().fit(net, loader())

    assert not any(hasattr(p, "jac") for p in net.parameters())


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before:")
def test_a_fit_resumed_at_the_batch_that_failed_goes_on(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(Failing, "place", "step")
    monkeypatch.setattr(Failing, "passing", False)
    net = Failing()
    fit = trainer()
    net.on_train_batch_end = lambda outputs, batch, batch_idx: (
        fit.save_checkpoint(tmp_path / "third.ckpt") if batch_idx == 2 else None
    )
    with pytest.raises(FloatingPointError, match="step"):
        fit.fit(net, loader())
    fit.fit(net, loader(), ckpt_path=tmp_path / "third.ckpt")

    assert fit.global_step == 6
    # Lightning counts on from the fourth batch, and takes the loader from its start.
    assert_same(net, by_hand(TwoTasks(), batches()[:3] * 2))


class Stray(TwoTasks):
    """Of every parameter, there is an old Jacobian, of another number of objectives."""

    def on_fit_start(self):
        for parameter in self.parameters():
            parameter.jac = torch.full((7, *parameter.shape), torch.nan)


class StrayAndOwnZeroGrad(Stray):
    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        optimizer.zero_grad()


@pytest.mark.parametrize("kind", [Stray, StrayAndOwnZeroGrad])
def test_an_old_jacobian_is_forgotten(trainer, kind):
    net = kind()
    trainer(accumulate_grad_batches=2).fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches(), accumulate=2))


def test_frozen_parameters_stay_where_they_are(trainer):
    net, other = TwoTasks(), TwoTasks()
    for each in (net, other):
        each.trunk[0].requires_grad_(False)
        each.heads[1].requires_grad_(False)
    net.trunk[0].weight.jac = torch.ones(3, *net.trunk[0].weight.shape)
    trainer().fit(net, loader())

    optimizer, aggregator = other.make_optimizer(other.parameters()), min_norm()
    for batch in batches():
        losses, features = other.losses(batch)
        mtl_backward(losses, features)
        jac_to_grad(other.trunk[2].parameters(), aggregator)
        optimizer.step()
        optimizer.zero_grad()
    assert_same(net, other)
    assert torch.equal(net.trunk[0].weight, TwoTasks().trunk[0].weight)


class Separate(TwoTasks):
    """Two tasks with nothing in common."""

    def __init__(self):
        super().__init__()
        self.other_trunk = nn.Linear(3, 4)

    def losses(self, batch):
        inputs, first, second = batch
        a = (self.heads[0](self.trunk(inputs)) - first).square().mean()
        b = (self.heads[1](self.other_trunk(inputs)) - second).square().mean()
        return [a, b], None


class SameInput(Separate):
    """All that the losses have in common is their input, which is trained by nobody."""

    def losses(self, batch):
        return super().losses([batch[0].clone().requires_grad_(), *batch[1:]])


class FrozenTrunk(TwoTasks):
    """A trunk that is trained later, as Lightning's finetuning callbacks do it."""

    def __init__(self, features=False):
        super().__init__(features=features)
        self.trunk.requires_grad_(False)


def features_of_a_frozen_trunk():
    return FrozenTrunk(features=True)


@pytest.mark.parametrize("module", [Separate, SameInput, FrozenTrunk, features_of_a_frozen_trunk])
def test_what_is_not_shared_gets_the_gradient_of_its_loss(trainer, module):
    net = module()
    trainer().fit(net, loader())
    assert_same(net, sum_by_hand(module()))


def test_what_no_optimizer_steps_has_no_say(trainer):
    """A layer that is left out of `configure_optimizers` is as good as frozen."""
    nets = without_first_layer(TwoTasks()), without_first_layer(TwoTasks())
    nets[1].trunk[0].requires_grad_(False)
    for net in nets:
        trainer().fit(net, loader())
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)
        assert not hasattr(one, "jac")


class Tied(TwoTasks):
    """A parameter that the optimizer alone knows."""

    def __init__(self):
        super().__init__()
        self.outside = [nn.Parameter(torch.ones(3))]

    def losses(self, batch):
        inputs, *targets = batch
        return super().losses([inputs * self.outside[0], *targets])

    def configure_optimizers(self):
        return self.make_optimizer([*self.parameters(), *self.outside])


def test_parameters_outside_the_module_are_aggregated_with_the_others(trainer):
    net, other = Tied(), Tied()
    trainer().fit(net, loader())

    optimizer = other.configure_optimizers()
    for batch in batches():
        losses, features = other.losses(batch)
        mtl_backward(losses, features)
        jac_to_grad([*other.trunk.parameters(), *other.outside], min_norm())
        optimizer.step()
        optimizer.zero_grad()
    assert_same(net, other)
    assert torch.equal(net.outside[0], other.outside[0])


@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches != 1.` and overr:")
def test_the_accumulation_may_change_between_epochs(trainer):
    net, other = TwoTasks(), TwoTasks()
    schedule = GradientAccumulationScheduler({0: 1, 1: 3})
    trainer(max_epochs=2, callbacks=[schedule]).fit(net, loader())

    stepping = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.5)
    other.make_optimizer = lambda _: stepping
    by_hand(by_hand(other, batches()), batches(), accumulate=3)
    assert_same(net, other)


def test_a_module_serves_several_trainers(trainer):
    net = TwoTasks(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    for _ in range(2):
        fit = trainer()
        assert isinstance(fit, Trainer)
        fit.fit(net, loader())

    other = TwoTasks(optimizer=net.make_optimizer)
    assert_same(net, by_hand(other, batches(), epochs=2))
