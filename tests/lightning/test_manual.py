"""Manual optimisation: each `manual_backward` aggregates at once."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from jd_amp import JacobianScaler
from torchjd.autojac import jac_to_grad, mtl_backward

from .nets import (
    Remembering,
    TwoTasks,
    assert_moved,
    assert_same,
    batches,
    by_hand,
    largest_difference,
    loader,
    min_norm,
)


class Manual(TwoTasks):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        assert not any(hasattr(p, "jac") for p in self.parameters())
        optimizer.step()


@pytest.mark.parametrize("features", [False, True], ids=["found", "given"])
@pytest.mark.parametrize("aggregator", [min_norm, Remembering])
def test_it_does_what_a_hand_loop_does(trainer, aggregator, features):
    net = Manual(aggregator, features=features)
    trainer().fit(net, loader())

    assert_same(net, by_hand(TwoTasks(aggregator), batches()))
    assert_moved(net)


class TwoOptimizers(Manual):
    """The trunk and the heads have an optimizer each, and a step in which only one moves."""

    def __init__(self):
        super().__init__()
        self.aggregator = min_norm()

    def configure_aggregator(self):
        return self.aggregator

    def configure_optimizers(self):
        first = torch.optim.SGD(self.trunk.parameters(), lr=0.1)
        return [first, torch.optim.Adam(self.heads.parameters(), lr=0.01)]

    def training_step(self, batch, batch_idx):
        trunk, heads = self.optimizers()
        for _ in range(2):
            self.zero_grad()
            self.manual_backward(0.5 * self.objectives(self.losses(batch)[0]))
            trunk.step()
        self.zero_grad()
        self.manual_backward(sum(self.losses(batch)[0]))  # an ordinary loss
        heads.step()


def test_two_optimizers(trainer):
    net, other = TwoOptimizers(), TwoOptimizers()
    trainer().fit(net, loader())

    trunk, heads = other.configure_optimizers()
    for batch in batches():
        for _ in range(2):
            other.zero_grad()
            losses, features = other.losses(batch)
            mtl_backward(losses, features, grad_tensors=[torch.tensor(0.5)] * 2)
            jac_to_grad(other.trunk.parameters(), min_norm())
            trunk.step()
        other.zero_grad()
        sum(other.losses(batch)[0]).backward()
        heads.step()
    assert_same(net, other)
    assert_moved(net)


class Toggled(TwoOptimizers):
    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            self.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            self.manual_backward(self.objectives(self.losses(batch)[0]))
            optimizer.step()
            self.untoggle_optimizer(optimizer)

    def losses(self, batch):
        inputs, *targets = batch
        features = self.trunk(inputs)
        first = self.heads[0](features)
        second = self.heads[1](features + first)  # so that the heads have something in common
        return [(first - targets[0]).square().mean(), (second - targets[1]).square().mean()], None


def test_only_the_toggled_parameters_are_aggregated(trainer):
    net, other = Toggled(), Toggled()
    trainer().fit(net, loader())

    optimizers = other.configure_optimizers()
    for batch in batches():
        for mine, theirs in zip(optimizers, reversed(optimizers), strict=True):
            for group in theirs.param_groups:
                [p.requires_grad_(False) for p in group["params"]]
            mine.zero_grad()
            mtl_backward(other.losses(batch)[0])
            shared = [p for p in other.parameters() if hasattr(p, "jac")]
            assert shared
            jac_to_grad(shared, min_norm())
            mine.step()
            other.requires_grad_(True)
    assert_same(net, other)
    assert_moved(net)


class TwoResults(Manual):
    """Both results are there before either comes back, and one is used twice."""

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        losses, _ = self.losses(batch)
        both, swapped = self.objectives(losses), self.objectives(losses[::-1])
        self.manual_backward(swapped, retain_graph=True)
        self.manual_backward(both)
        optimizer.step()


def test_results_come_back_in_any_order(trainer):
    net, other = TwoResults(), TwoTasks()
    trainer().fit(net, loader())

    optimizer = other.make_optimizer(other.parameters())
    for batch in batches():
        optimizer.zero_grad()
        losses, features = other.losses(batch)
        for each in (losses[::-1], losses):
            mtl_backward(each, features, retain_graph=each is not losses)
            jac_to_grad(other.trunk.parameters(), min_norm())
        optimizer.step()
    assert_same(net, other)


class Joined(Manual):
    def training_step(self, batch, batch_idx):
        losses, _ = self.losses(batch)
        self.manual_backward(self.objectives(losses) + self.objectives(losses[::-1]))


def test_two_results_in_one_pass_are_refused(trainer):
    with pytest.raises(RuntimeError, match=r"One backward pass must be of one result.*made of 2"):
        trainer().fit(Joined(), loader())


class OwnPass(Manual):
    def training_step(self, batch, batch_idx):
        TwoTasks.training_step(self, batch, batch_idx).backward()


def test_an_ordinary_backward_pass_is_refused(trainer):
    with pytest.raises(RuntimeError, match="must be differentiated by its JDModule"):
        trainer().fit(OwnPass(), loader())


class Stray(Manual):
    def on_train_batch_start(self, batch, batch_idx):
        for parameter in self.parameters():
            parameter.jac = torch.full((7, *parameter.shape), torch.nan)


def test_an_old_jacobian_is_forgotten(trainer):
    net = Stray()
    trainer().fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches()))


class FailingAggregator(Remembering):
    def forward(self, matrix, /):
        raise FloatingPointError("aggregator")


def test_an_aggregator_that_fails_leaves_no_jacobian(trainer):
    net = Manual(FailingAggregator)
    with pytest.raises(FloatingPointError, match="aggregator"):
        trainer().fit(net, loader())

    assert not any(hasattr(p, "jac") for p in net.parameters())


@pytest.mark.parametrize("scaler", [torch.amp.GradScaler, JacobianScaler])
def test_float16_is_near_float32(trainer, scaler):
    net = Manual()
    plugin = MixedPrecision("16-mixed", "cpu", scaler("cpu", init_scale=256.0))
    trainer(plugins=plugin).fit(net, loader())

    assert 0 < largest_difference(net, by_hand(TwoTasks(), batches())) < 3e-3


class TheCoresCalls(Manual):
    """As it is written without JDModule."""

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        losses, features = self.losses(batch)
        mtl_backward(losses=losses, features=features)
        jac_to_grad(self.trunk.parameters(), min_norm())
        optimizer.step()
        optimizer.zero_grad()


def test_the_calls_of_the_core_work_as_in_any_module(trainer):
    net = TheCoresCalls()
    trainer().fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches()))
