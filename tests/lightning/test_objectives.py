"""What a training step is given by `objectives`, and what others can read of it."""

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from jd_lightning import JDModule

from .nets import MinNorm, TwoTasks, assert_same, batches, loader, min_norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_the_value_is_the_mean(dtype):
    x = torch.tensor([1.0, 2.0, 6.0], dtype=dtype, requires_grad=True)

    value = JDModule().objectives(list(x.unbind()))
    assert value.item() == 3.0
    assert value.shape == ()
    assert value.requires_grad
    assert value.dtype == torch.promote_types(dtype, torch.float32)


def test_the_value_of_losses_of_samples_is_the_mean_of_them_all():
    x = torch.arange(6.0, requires_grad=True)

    assert JDModule().objectives(x.view(3, 2) * 2).item() == 5.0


def test_a_value_that_overflowed_is_shown():
    x = torch.tensor([1.0, torch.inf], requires_grad=True)

    assert JDModule().objectives(list(x.unbind())).item() == torch.inf


def test_names_are_those_of_the_last_call():
    net, x = JDModule(), torch.ones(2, requires_grad=True)

    assert net.objective_names == ()
    net.objectives({"depth": x[0], "edges": x[1]})
    assert net.objective_names == ("depth", "edges")
    net.objectives(iter([x[0], x[1]]))
    assert net.objective_names == ("0", "1")
    net.objectives(x * 2)
    assert net.objective_names == ()


def test_losses_of_one_element_are_scalars():
    x = torch.ones(2, requires_grad=True)

    assert JDModule().objectives([x[:1], x[1:].view(1, 1)]).item() == 1.0


class Asking(TwoTasks):
    def __init__(self, per_sample):
        super().__init__()
        self.per_sample = per_sample

    def training_step(self, batch, batch_idx):
        inputs, target, _ = batch
        if self.per_sample:
            return self.objectives((self.heads[0](self.trunk(inputs)) - target).square()[:, 0])
        return super().training_step(batch, batch_idx)


class TwoWeighting(MinNorm):
    """Weighs any number of losses."""

    def forward(self, gramian, /):
        return gramian.diagonal()


class Ask(Callback):
    """What a monitor does: before the backward pass, it asks what will aggregate."""

    def __init__(self):
        self.calls, self.asked = 0, []

    def on_before_backward(self, trainer, module, loss):
        self.asked.append(module.aggregator_in_use)


@pytest.mark.parametrize("per_sample", [False, True])
def test_what_aggregates_is_known_before_the_backward_pass(trainer, per_sample):
    ask, seen = Ask(), []
    net = Asking(per_sample)
    method = min_norm()
    method.weighting = TwoWeighting() if per_sample else method.weighting
    net.make_aggregator = lambda: method
    wanted = method.gramian_weighting if per_sample else method
    method.gramian_weighting.register_forward_hook(lambda *given: seen.append(given[1][0]))
    assert net.aggregator_in_use is None
    trainer(callbacks=[ask]).fit(net, loader(batches(count=3)))

    assert ask.asked == [wanted] * 3
    assert [gramian.shape[0] for gramian in seen] == [4 if per_sample else 2] * 3


class Validated(TwoTasks):
    def __init__(self):
        super().__init__()
        self.seen = []

    def validation_step(self, batch, batch_idx):
        self.seen.append(self.objectives(self.losses(batch)[0]))


@pytest.mark.parametrize("inference_mode", [True, False])
def test_in_validation_it_is_a_number(trainer, inference_mode):
    net = Validated()
    fit = trainer(num_sanity_val_steps=0, inference_mode=inference_mode)
    fit.fit(net, loader(), loader(batches(count=2)))

    expected = [sum(net.losses(batch)[0]).detach() / 2 for batch in batches(count=2)]
    torch.testing.assert_close(torch.stack(net.seen), torch.stack(expected))
    assert not any(value.requires_grad for value in net.seen)


class Evaluating(TwoTasks):
    """Evaluates its objectives before it descends them."""

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            before = super().training_step(batch, batch_idx)
        loss = super().training_step(batch, batch_idx)
        assert torch.equal(before, loss)
        return loss


def test_without_gradients_it_is_a_number(trainer):
    net, expected = Evaluating(), TwoTasks()
    trainer().fit(net, loader())
    trainer().fit(expected, loader())
    assert_same(net, expected)


def test_a_training_step_can_be_called_without_a_trainer():
    net = TwoTasks()
    loss = net.training_step(batches()[0], 0)

    torch.testing.assert_close(loss, sum(net.losses(batches()[0])[0]) / 2)


def test_the_name_aggregator_is_the_users_own():
    class Own(JDModule):
        def __init__(self):
            super().__init__()
            self.aggregator = min_norm()

        def configure_aggregator(self):
            return self.aggregator

    net = Own()
    net.objectives([nn.Parameter(torch.ones(()))])
    assert net.aggregator_in_use is net.aggregator
