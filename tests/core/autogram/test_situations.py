"""Models that change under one engine, and engines on some of their layers."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchjd.autogram import Engine

from .architecture import squared, x
from .harness import MODES, Fixed, assert_step, net
from .oracle import assert_gradient, assert_gramian, by_rows, relative_error, trainable

B = 5
ROWS = x(B, 4)
every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
def test_frozen_and_unfrozen_parameters(mode):
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode)
    for frozen in ([], [0], [0, 3], [5], [3], []):
        for k, layer in enumerate(model):
            layer.requires_grad_(k not in frozen)
        assert_step(engine, model, lambda: squared(model(ROWS)))
        for p in model.parameters():
            assert p.requires_grad or p.grad is None


@every_mode
def test_frozen_after_the_forward(mode):
    """The graph still leads to the parameter, which is no longer to be counted."""
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode)
    losses = squared(model(ROWS))
    model[0].requires_grad_(False)
    gramian = engine.compute_gramian(losses)
    assert_gramian(gramian, by_rows(losses, trainable(model)), 1e-10)


@every_mode
def test_replaced_parameters_and_layers(mode):
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode)
    assert_step(engine, model, lambda: squared(model(ROWS)))
    model[0].weight = nn.Parameter(2 * model[0].weight.detach())
    assert_step(engine, model, lambda: squared(model(ROWS)))
    model[3] = nn.Linear(6, 5, dtype=torch.float64)
    assert_step(engine, model, lambda: squared(model(ROWS)))
    model.float()
    assert_step(engine, model, lambda: squared(model(ROWS.float())), 1e-4)
    model.double()
    model[3].weight = model[3].weight  # and tied, at last
    model[5] = nn.Linear(5, 6, bias=False, dtype=torch.float64)
    model[5].weight = nn.Parameter(model[3].weight.detach().T.contiguous())
    assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
def test_steps_of_an_optimizer(mode):
    model, engines = net(), []
    twin = copy.deepcopy(model)
    engines = [Engine(model, batch_dim=0, mode=mode)]
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin)]
    for _ in range(5):
        weights = engines[0].backward(squared(model(ROWS)), Fixed())
        squared(twin(ROWS)).backward(weights)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert relative_error(p, q) < 1e-10


def test_engine_made_after_the_forward():
    model = net()
    losses = squared(model(ROWS))
    right = by_rows(losses, trainable(model))
    assert_gramian(Engine(model, batch_dim=0).compute_gramian(losses), right, 1e-10)
    weights = Engine(model, batch_dim=0).backward(losses, Fixed())
    assert_gradient(model, right, weights, 1e-10)


def test_two_engines_on_one_model():
    model = net()
    engines = [Engine(model, batch_dim=0), Engine(model, batch_dim=None, mode="stream")]
    part = Engine(model[3], batch_dim=0)
    losses = squared(model(ROWS))
    right = by_rows(losses, trainable(model))
    for _ in range(2):
        assert_gramian(part.compute_gramian(losses), by_rows(losses, trainable(model[3])), 1e-10)
        for engine in engines:
            assert_gramian(engine.compute_gramian(losses), right, 1e-10)
    for engine in engines:
        assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
@pytest.mark.parametrize("layers", [[0], [3], [5], [0, 5]])
def test_engine_on_some_layers(layers, mode):
    """The Gramian is of its layers alone, the gradient of all that the losses reach."""
    model = net()
    part = nn.ModuleList([model[k] for k in layers])
    engine = Engine(*[model[k] for k in layers], batch_dim=0, mode=mode)
    given = ROWS.clone().requires_grad_()
    for times in (1.0, 2.0):
        losses = squared(model(given))
        weighting = Fixed()
        right = by_rows(losses, trainable(part))
        everything = by_rows(losses, trainable(model))
        inputs = by_rows(losses, {"": given}).gradient
        weights = engine.backward(losses, weighting)
        assert_gramian(weighting.gramian, right, 1e-10)
        assert_gradient(model, everything, weights, 1e-10, times)
        # As by `.backward()`, every leaf has its gradient, be it a parameter or not.
        assert relative_error(given.grad, times * inputs(weights)[""]) < 1e-10


def test_parent_and_child_count_once():
    model = net()
    losses = squared(model(ROWS))
    right = by_rows(losses, trainable(model))
    for modules in ((model, model[0]), (model[0], model), (model, model)):
        assert_gramian(Engine(*modules, batch_dim=0).compute_gramian(losses), right, 1e-10)


def test_losses_that_do_not_reach_the_modules():
    model, other = net(), net()
    engine = Engine(other, batch_dim=0)
    for _ in range(2):
        weighting = Fixed()
        losses = squared(model(ROWS))
        right = by_rows(losses, trainable(model))
        weights = engine.backward(losses, weighting)
        assert torch.equal(weighting.gramian, torch.zeros(B, B, dtype=torch.float64))
        assert_gradient(model, right, weights, 1e-10)
        assert all(p.grad is None for p in other.parameters())
        model.zero_grad()


def test_module_without_parameters():
    model = net()
    gramian = Engine(nn.Tanh(), batch_dim=0).compute_gramian(squared(model(ROWS)))
    assert torch.equal(gramian, torch.zeros(B, B, dtype=torch.float64))


@every_mode
def test_averaged_losses(mode):
    """Few losses, each an average over the batch, each of another kind."""
    model = net()

    def forward():
        y = model(ROWS)
        return torch.stack([y.pow(2).mean(), F.softplus(y).mean(), y.std(), y[:, 0].sum()])

    for batch_dim in (None, 0):
        assert_step(Engine(model, batch_dim=batch_dim, mode=mode), model, forward)


@every_mode
def test_samples_without_a_dimension_of_them(mode):
    model = net()
    losses = squared(model(ROWS))
    of = [Engine(model, batch_dim=d, mode=mode).compute_gramian(losses) for d in (None, 0, -1)]
    assert relative_error(of[0], of[1]) < 1e-12
    assert torch.equal(of[1], of[2])


def test_shape_of_a_generalized_gramian():
    model = net()
    losses = model(x(16, 4)).pow(2)
    gramian = Engine(model, batch_dim=0).compute_gramian(losses)
    assert gramian.shape == (16, 2, 2, 16)
    rows = by_rows(losses, trainable(model))
    joined = torch.cat([r.reshape(32, -1) for r in rows.jacobian.values()], 1)
    assert abs(float(gramian[3, 1, 0, 7] - joined[3 * 2 + 1] @ joined[7 * 2])) < 1e-12
