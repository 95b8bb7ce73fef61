"""One tensor with a loss for each sample: the Gramian engine, each micro-batch by itself."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from torchjd.aggregation import GeneralizedWeighting, GramianWeightedAggregator, GramianWeighting
from torchjd.autogram import Engine

from .nets import (
    InverseNorm,
    TwoTasks,
    adam,
    assert_same,
    batches,
    largest_difference,
    loader,
    sgd,
    without_first_layer,
)


class ByLossGramian(GramianWeighting):
    needs_losses = True

    def forward(self, gramian, /, *, losses):
        self.seen = losses
        return losses / gramian.diagonal().sum().sqrt()


class Flat(GeneralizedWeighting):
    def forward(self, gramian, /):
        samples, tasks = gramian.shape[:2]
        flat = gramian.movedim(2, 3).reshape(samples * tasks, samples * tasks)
        return flat.diagonal().clamp(min=1e-30).rsqrt().view(samples, tasks)


class Samples(TwoTasks):
    def per_sample(self, batch):
        inputs, *targets = batch
        features = self.trunk(inputs)
        both = [(h(features) - t).square() for h, t in zip(self.heads, targets, strict=True)]
        return torch.cat(both, dim=1).sum(dim=1)

    def training_step(self, batch, batch_idx):
        return self.objectives(self.per_sample(batch))


class SamplesAndTasks(Samples):
    def per_sample(self, batch):
        inputs, *targets = batch
        features = self.trunk(inputs)
        both = [(h(features) - t).square() for h, t in zip(self.heads, targets, strict=True)]
        return torch.cat(both, dim=1)


def samples_by_hand(net, weighting, data, accumulate=1, weight=1.0, clip=None):
    parameters = [*net.trunk.parameters(), *net.heads.parameters()]
    optimizer, engine = net.make_optimizer(parameters), Engine(net.trunk, net.heads)
    for i, batch in enumerate(data):
        losses = weight * net.per_sample(batch)
        weights = weighting(engine.compute_gramian(losses))
        (losses * weights.detach() / accumulate).sum().backward()
        if (i + 1) % accumulate == 0:
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            optimizer.zero_grad()
    return net


def aggregator():
    return GramianWeightedAggregator(InverseNorm())


# The engine's weighted gradient is the same up to the order of its sums.
def assert_near(net, expected, most=3e-6):
    assert largest_difference(net, expected) < most


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimizer", [sgd, adam])
@pytest.mark.parametrize("configured", [InverseNorm, aggregator])
def test_it_does_what_a_hand_loop_does(trainer, configured, optimizer, accumulate):
    net = Samples(configured, optimizer)
    fit = trainer(accumulate_grad_batches=accumulate, gradient_clip_val=0.5)
    fit.fit(net, loader())

    expected = Samples(configured, optimizer)
    samples_by_hand(expected, InverseNorm(), batches(), accumulate, clip=0.5)
    assert_near(net, expected, most=1e-4 if optimizer is adam else 3e-6)
    assert largest_difference(net, Samples()) > 1e-2


def test_it_is_the_engines_own_pass_bit_for_bit(trainer):
    net, other = Samples(InverseNorm), Samples(InverseNorm)
    trainer().fit(net, loader())

    optimizer = other.make_optimizer(other.parameters())
    for batch in batches():
        optimizer.zero_grad()
        Engine(other).backward(other.per_sample(batch), InverseNorm())
        optimizer.step()
    assert_same(net, other)


def test_samples_and_tasks(trainer):
    net, other = SamplesAndTasks(Flat), SamplesAndTasks(Flat)
    trainer().fit(net, loader())

    assert_near(net, samples_by_hand(other, Flat(), batches()))


class Weighted(Samples):
    def training_step(self, batch, batch_idx):
        return 0.25 * super().training_step(batch, batch_idx)


def test_a_number_scales_the_losses(trainer):
    net, other = Weighted(InverseNorm), Samples(InverseNorm)
    trainer(accumulate_grad_batches=2).fit(net, loader())

    assert_near(net, samples_by_hand(other, InverseNorm(), batches(), 2, weight=0.25))


def still(parameters):
    return torch.optim.SGD(parameters, lr=0.0)


@pytest.mark.parametrize("plugin", [None, "float16"])
def test_the_weighting_is_given_the_true_losses(trainer, plugin):
    net = Samples(ByLossGramian, still)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    plugins = None if plugin is None else MixedPrecision("16-mixed", "cpu", scaler)
    trainer(plugins=plugins, accumulate_grad_batches=2).fit(net, loader())

    (weighting,) = [m for m in net.modules() if isinstance(m, ByLossGramian)]
    losses = net.per_sample(batches()[-1]).detach()
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if plugin else {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(weighting.seen, losses, **tolerance)


def test_float16_is_near_float32(trainer):
    net, other = Samples(InverseNorm), Samples(InverseNorm)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    trainer(plugins=MixedPrecision("16-mixed", "cpu", scaler)).fit(net, loader())
    trainer().fit(other, loader())

    assert 0 < largest_difference(net, other) < 2e-2


def nonfinite():
    data = batches()
    data[2][2] = data[2][2] * torch.inf
    return data


class Strict(InverseNorm):
    """A weighting that would be harmed by what is not finite."""

    def forward(self, gramian, /):
        assert torch.isfinite(gramian).all()
        return super().forward(gramian)


def test_float16_skips_what_is_not_finite(trainer):
    net, other = Samples(Strict), Samples(Strict)
    scalers = [torch.amp.GradScaler("cpu", init_scale=64.0) for _ in range(2)]
    first, second = [MixedPrecision("16-mixed", "cpu", scaler) for scaler in scalers]
    trainer(plugins=first).fit(net, loader(nonfinite()))
    trainer(plugins=second).fit(other, loader(batches()[:2] + batches()[3:]))

    assert largest_difference(net, other) < 2e-2  # the scale, and so the rounding, is another
    assert scalers[0].get_scale() == 32.0


def test_bfloat16_skips_what_is_not_finite(trainer):
    net, other = Samples(Strict), Samples(Strict)
    with pytest.warns(UserWarning, match="A step was skipped"):
        trainer(precision="bf16-mixed").fit(net, loader(nonfinite()))
    trainer(precision="bf16-mixed").fit(other, loader(batches()[:2] + batches()[3:]))

    assert_same(net, other)
    assert net.skipped_steps == 1


class Alternating(Samples):
    """Samples, then tasks: one aggregator serves both."""

    def training_step(self, batch, batch_idx):
        if batch_idx % 2:
            return self.objectives(self.losses(batch)[0])
        return super().training_step(batch, batch_idx)


def test_samples_and_objectives_alternate(trainer):
    net = Alternating(aggregator)
    trainer(accumulate_grad_batches=2).fit(net, loader())

    assert largest_difference(net, Samples()) > 1e-2
    assert net.objective_names == ("0", "1")


def test_what_no_optimizer_steps_has_no_say(trainer):
    """A layer that is left out of `configure_optimizers` is as good as frozen."""
    nets = [without_first_layer(Samples(InverseNorm)) for _ in range(2)]
    nets[1].trunk[0].requires_grad_(False)
    for net in nets:
        trainer().fit(net, loader())
    assert_same(*nets)
    assert torch.equal(nets[0].trunk[0].weight, TwoTasks().trunk[0].weight)
