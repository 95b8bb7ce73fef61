"""Automatic optimisation does what a loop written with the core's functions does, bit for bit."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from jd_lightning import JDModule
from torchjd.autojac import jac_to_grad, mtl_backward

from .nets import (
    ByLoss,
    Remembering,
    TwoTasks,
    adam,
    assert_moved,
    assert_same,
    batches,
    by_hand,
    by_loss,
    even,
    loader,
    min_norm,
    sgd,
    weights,
)

step_lr = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
CLIPS = {
    None: None,
    "norm": partial(clip_grad_norm_, max_norm=0.3),
    "value": partial(clip_grad_value_, clip_value=0.05),
}


def clipping(algorithm):
    value = {"norm": 0.3, "value": 0.05}.get(algorithm)
    return {"gradient_clip_val": value, "gradient_clip_algorithm": algorithm}


@pytest.mark.parametrize("features", [False, True], ids=["found", "given"])
@pytest.mark.parametrize("optimizer", [sgd, adam])
@pytest.mark.parametrize("aggregator", [even, min_norm, Remembering])
def test_plain(trainer, aggregator, optimizer, features):
    net = TwoTasks(aggregator, optimizer, features)
    trainer(max_epochs=2).fit(net, loader())

    assert_same(net, by_hand(TwoTasks(aggregator, optimizer), batches(), epochs=2))
    assert_moved(net)


@pytest.mark.parametrize("scheduler", [None, step_lr], ids=["constant", "scheduled"])
@pytest.mark.parametrize("algorithm", CLIPS)
@pytest.mark.parametrize("accumulate", [1, 2, 4])  # 4 leaves a shorter window at the end
@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_with_accumulation_clipping_and_schedules(
    trainer, optimizer, accumulate, algorithm, scheduler
):
    net = TwoTasks(optimizer=optimizer, scheduler=scheduler)
    trainer(accumulate_grad_batches=accumulate, **clipping(algorithm)).fit(net, loader())

    other = TwoTasks(optimizer=optimizer, scheduler=scheduler)
    clip = CLIPS[algorithm]
    assert_same(net, by_hand(other, batches(), accumulate=accumulate, clip=clip))
    assert_moved(net)


def test_accumulated_batches_are_one_large_batch(trainer):
    net, large = TwoTasks(), TwoTasks()
    small = batches(count=8, size=4)
    joined = [[torch.cat(parts) for parts in zip(*small[i : i + 4], strict=True)] for i in (0, 4)]
    trainer(accumulate_grad_batches=4).fit(net, loader(small))
    trainer().fit(large, loader(joined))

    for a, b in zip(net.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(a, b)


class CommonHead(TwoTasks):
    """The heads share their first layer; the user says that only the trunk is to be aggregated."""

    def __init__(self):
        super().__init__()
        self.common = nn.Linear(4, 4)

    def losses(self, batch):
        inputs, *targets = batch
        features = self.trunk(inputs)
        outputs = [head(self.common(features)) for head in self.heads]
        return [(o - t).square().mean() for o, t in zip(outputs, targets, strict=True)], features

    def training_step(self, batch, batch_idx):
        losses, features = self.losses(batch)
        return self.objectives(losses, features=[features])


def test_the_features_say_what_is_aggregated(trainer):
    net, other = CommonHead(), CommonHead()
    trainer().fit(net, loader())

    optimizer = other.make_optimizer(other.parameters())
    for batch in batches():
        losses, features = other.losses(batch)
        mtl_backward(losses, features)
        jac_to_grad(other.trunk.parameters(), min_norm())
        optimizer.step()
        optimizer.zero_grad()
    assert_same(net, other)
    assert torch.equal(net.common.weight, other.common.weight)


class Weighted(TwoTasks):
    def training_step(self, batch, batch_idx):
        return {"loss": 0.25 * super().training_step(batch, batch_idx)}


def test_a_number_scales_the_rows(trainer):
    net = Weighted()
    trainer(accumulate_grad_batches=2).fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches(), accumulate=2, weight=0.25))


class InPlace(TwoTasks):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        loss *= 0.25
        return loss


def test_a_number_may_be_multiplied_in_place(trainer):
    net = InPlace()
    trainer().fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches(), weight=0.25))


class Numbered(TwoTasks):
    def training_step(self, batch, batch_idx):
        return self.objectives(self.losses(batch)[0])


def test_losses_without_names(trainer):
    net = Numbered()
    trainer().fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches()))
    assert net.objective_names == ("0", "1")


def test_the_logged_loss_is_the_mean_of_the_objectives(trainer):
    net = TwoTasks(optimizer=partial(torch.optim.SGD, lr=0.0))
    fit = trainer()
    seen = []
    net.on_train_batch_end = lambda outputs, batch, batch_idx: seen.append(outputs["loss"])
    fit.fit(net, loader())

    expected = [sum(net.losses(batch)[0]) / 2 for batch in batches()]
    torch.testing.assert_close(torch.stack(seen), torch.stack(expected).detach())


def test_the_aggregator_is_given_the_losses_averaged_over_the_micro_batches(trainer):
    net = TwoTasks(by_loss, optimizer=partial(torch.optim.SGD, lr=0.0))
    trainer(accumulate_grad_batches=3).fit(net, loader())

    (weighting,) = [m for m in net.modules() if isinstance(m, ByLoss)]
    losses = torch.stack([torch.stack(net.losses(batch)[0]) for batch in batches()[3:]])
    torch.testing.assert_close(weighting.seen, losses.mean(dim=0).detach())


class Closed(nn.Module):
    """The hand loop for an optimizer that calls its closure several times."""

    def __init__(self, net):
        super().__init__()
        self.net, self.aggregator = net, net.make_aggregator()

    def __call__(self, batch):
        losses, features = self.net.losses(batch)
        self.net.zero_grad()
        mtl_backward(losses, features)
        jac_to_grad(self.net.trunk.parameters(), self.aggregator)
        return (losses[0].detach() + losses[1].detach()) / 2


def lbfgs(parameters):
    return torch.optim.LBFGS(parameters, lr=0.1, max_iter=3)


def test_an_optimizer_that_calls_its_closure_several_times(trainer):
    net, other = TwoTasks(optimizer=lbfgs), TwoTasks(optimizer=lbfgs)
    trainer().fit(net, loader(batches(count=3)))

    optimizer = lbfgs([*other.trunk.parameters(), *other.heads.parameters()])
    closed = Closed(other)
    for batch in batches(count=3):
        optimizer.step(partial(closed, batch))
    assert_same(net, other)
    assert_moved(net)


class Counting(LightningModule):
    """A module of one's own, without Jacobian descent."""

    def __init__(self):
        LightningModule.__init__(self)  # calls no constructor beside Lightning's
        self.started = []
        self.net = TwoTasks()

    def on_train_batch_start(self, batch, batch_idx):
        self.started.append(batch_idx)

    def configure_optimizers(self):
        return sgd(self.net.parameters())


class Mixed(JDModule, Counting):
    def configure_aggregator(self):
        return min_norm()

    def training_step(self, batch, batch_idx):
        return self.objectives(self.net.losses(batch)[0])


def test_as_one_of_several_bases(trainer):
    net = Mixed()
    trainer().fit(net, loader())

    assert_same(net.net, by_hand(TwoTasks(), batches()))
    assert net.started == [0, 1, 2, 3, 4, 5]


class Looking(Callback):
    """Looks at the gradients after each backward pass, and before each step."""

    def __init__(self):
        self.after_backward, self.before_step = [], []

    def on_after_backward(self, trainer, pl_module):
        self.after_backward.append([p.grad for p in pl_module.parameters()])

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before_step.append([p.grad for p in pl_module.parameters()])


def test_hooks_after_the_last_backward_pass_find_the_gradient_of_the_step(trainer):
    looking = Looking()
    trainer(callbacks=[looking], accumulate_grad_batches=2).fit(TwoTasks(), loader())

    assert len(looking.before_step) == 3
    for found, expected in zip(looking.after_backward[1::2], looking.before_step, strict=True):
        assert all(grad is not None for grad in expected)
        assert all(a is b for a, b in zip(found, expected, strict=True))


class Mending(Callback):
    """Removes what is not finite from the gradients, after the backward pass."""

    def on_after_backward(self, trainer, pl_module):
        for parameter in pl_module.parameters():
            parameter.grad.nan_to_num_(0.0, 0.0, 0.0)


class Broken(TwoTasks):
    """The first loss of each batch is not finite."""

    def training_step(self, batch, batch_idx):
        (first, second), _ = self.losses(batch)
        return self.objectives([first * float("nan"), second])


def test_hooks_after_the_backward_pass_may_change_the_gradient(trainer):
    net = Broken(even)
    trainer(callbacks=[Mending()]).fit(net, loader())
    assert all(parameter.isfinite().all() for parameter in weights(net))
