"""What the engine refuses, in the words of the caller; and edges that it must not refuse."""

import pytest
import torch
from torch import nn

from torchjd.autogram import Engine

from .architecture import squared, x
from .harness import MODES, Fixed, assert_step
from .oracle import assert_gradient, assert_gramian, by_rows, trainable

B = 5
ROWS = x(B, 4)
every_mode = pytest.mark.parametrize("mode", MODES)
any_refusal = (TypeError, ValueError, RuntimeError)


def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((), {}, (TypeError, ValueError), "`modules`"),
        ((3,), {}, TypeError, r"`modules(\[0\])?`"),
        ((nn.Linear,), {}, TypeError, r"`modules(\[0\])?`"),
        (([nn.Linear(1, 1)],), {}, TypeError, r"`modules(\[0\])?`"),
        ((nn.Linear(1, 1).parameters(),), {}, TypeError, r"`modules(\[0\])?`"),
        ((nn.Linear(1, 1),), {"batch_dim": "0"}, TypeError, "`batch_dim`"),
        ((nn.Linear(1, 1),), {"batch_dim": 0.0}, TypeError, "`batch_dim`"),
        ((nn.Linear(1, 1),), {"mode": "fast"}, ValueError, "`mode`"),
        ((nn.Linear(1, 1),), {"budget": -1}, ValueError, "`budget`"),
        ((nn.Linear(1, 1),), {"budget": "1 GB"}, TypeError, "`budget`"),
    ],
)
def test_constructor(arguments, options, error, match):
    with pytest.raises(error, match=match):
        Engine(*arguments, **options)


def without_grad(model):
    with torch.no_grad():
        return squared(model(ROWS))


OUTPUTS = {
    "no tensor": (lambda model: [squared(model(ROWS))], TypeError),
    "a number": (lambda model: 3.0, TypeError),
    "no losses": (lambda model: model(ROWS)[:0, 0], ValueError),
    "no tasks": (lambda model: model(ROWS)[:, :0], ValueError),
    "a scalar": (lambda model: model(ROWS).sum(), ValueError),
    "detached": (lambda model: squared(model(ROWS)).detach(), any_refusal),
    "without grad": (without_grad, any_refusal),
    "integers": (lambda model: torch.arange(3), any_refusal),
    "complex": (lambda model: squared(model(ROWS)) * 1j, any_refusal),
}


@pytest.mark.parametrize("call", ["compute_gramian", "backward"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_output(name, call):
    output, error = OUTPUTS[name]
    model = net()
    engine = Engine(model, batch_dim=0)
    given = output(model)
    more = (Fixed(),) if call == "backward" else ()
    with pytest.raises(error, match="`output`"):
        getattr(engine, call)(given, *more)
    assert all(p.grad is None for p in model.parameters())
    assert_step(engine, model, lambda: squared(model(ROWS)))


@pytest.mark.parametrize("batch_dim", [1, -2, 7])
def test_batch_dim_that_the_output_does_not_have(batch_dim):
    model = net()
    engine = Engine(model, batch_dim=batch_dim)
    with pytest.raises((ValueError, IndexError), match="`batch_dim`"):
        engine.compute_gramian(squared(model(ROWS)))
    with pytest.raises((ValueError, IndexError), match="`batch_dim`"):
        engine.backward(squared(model(ROWS)), Fixed())


@every_mode
@pytest.mark.parametrize(
    ("weighting", "error"),
    [
        (None, TypeError),
        (torch.ones(B), TypeError),
        (lambda gramian: None, TypeError),
        (lambda gramian: 1.0, TypeError),
        (lambda gramian: torch.ones(B + 1), ValueError),
        (lambda gramian: torch.ones(()), ValueError),
        (lambda gramian: torch.ones(B, 1), ValueError),
        (lambda gramian: gramian, ValueError),
    ],
    ids=["none", "tensor", "gives none", "gives a number", "one too many", "scalar", "column",
         "matrix"],
)  # fmt: skip
def test_weighting(weighting, error, mode):
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode)
    with pytest.raises(error, match="weighting"):
        engine.backward(squared(model(ROWS)), weighting)
    assert all(p.grad is None for p in model.parameters())
    assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_of_another_dtype(dtype, mode):
    model = net().float()
    losses = squared(model(ROWS.float()))
    right = by_rows(losses, trainable(model))
    given = torch.tensor([0.5, 0.25, -1.0, 2.0, 0.0], dtype=dtype)  # which all of them represent
    Engine(model, batch_dim=0, mode=mode).backward(losses, lambda gramian: given)
    assert_gradient(model, right, given, 1e-4)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


@every_mode
def test_weights_that_require_grad(mode):
    """A weighting may be a network of its own."""
    model, scores = net(), nn.Linear(B, B).double()
    losses = squared(model(ROWS))
    right = by_rows(losses, trainable(model))
    engine = Engine(model, batch_dim=0, mode=mode)
    weights = engine.backward(losses, lambda gramian: scores(gramian).mean(0))
    assert_gradient(model, right, weights, 1e-10)
    assert not any(p.grad.requires_grad for p in model.parameters())


def test_calls_without_grad_mode():
    model = net()
    engine = Engine(model, batch_dim=0)
    losses = squared(model(ROWS))
    right = by_rows(losses, trainable(model))
    with torch.no_grad():
        assert_gramian(engine.compute_gramian(losses), right, 1e-10)
        weights = engine.backward(losses, Fixed())
    assert_gradient(model, right, weights, 1e-10)


@every_mode
def test_one_sample(mode):
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode)
    assert_step(engine, model, lambda: squared(model(ROWS[:1])))
    assert_step(engine, model, lambda: model(ROWS[:1]).pow(2))
    assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
@pytest.mark.parametrize("budget", [0, 1, 1000, 10**12])
def test_any_budget_gives_the_same(budget, mode):
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode, budget=budget)
    assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("one sample", torch.nan),
        ("one sample", torch.inf),
        ("losses", torch.nan),
        ("losses", torch.inf),
        ("parameter", torch.nan),
    ],
)
def test_what_is_not_finite_stays_so(where, value, mode):
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode)
    given, factor = ROWS.clone(), torch.ones(B, dtype=torch.float64)
    kept = model[0].weight.detach().clone()
    if where == "one sample":
        given[2, 0] = value
    elif where == "losses":
        factor[2] = value
    else:
        model[0].weight.data[0, 0] = value
    weighting = Fixed()  # whose own weights are finite all the same
    weights = engine.backward(squared(model(given)) * factor, weighting)
    assert weights.isnan().all()
    assert not torch.isfinite(weighting.gramian[2, 2])
    assert not all(torch.isfinite(p.grad).all() for p in model.parameters())
    model[0].weight.data.copy_(kept)
    assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_any_scale_of_the_losses(scale, mode):
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode)
    assert_step(engine, model, lambda: squared(model(ROWS)) * scale)


@every_mode
def test_losses_of_very_different_scales(mode):
    """Each entry is right relative to its own rows, not to the largest."""
    model = net()
    factor = torch.logspace(-12, 12, B, dtype=torch.float64)
    losses = squared(model(ROWS)) * factor
    right = by_rows(losses, trainable(model)).gramian()
    found = Engine(model, batch_dim=0, mode=mode).compute_gramian(losses)
    lengths = right.diagonal().sqrt()
    assert bool(((found - right).abs() <= 1e-10 * torch.outer(lengths, lengths)).all())


@pytest.mark.parametrize("mode", MODES)
def test_gramians_are_symmetric_and_deterministic(mode):
    model = net()
    engine = Engine(model, batch_dim=0, mode=mode)
    gramians = [engine.compute_gramian(squared(model(ROWS))) for _ in range(3)]
    assert torch.equal(gramians[1], gramians[2])
    assert torch.allclose(gramians[0], gramians[0].T, rtol=1e-12)


def test_losses_that_are_a_parameter():
    model = nn.Module()
    model.losses = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    engine = Engine(model, batch_dim=0)
    assert torch.equal(engine.compute_gramian(model.losses), torch.eye(3))
    assert torch.equal(engine.compute_gramian(model.losses * 2), 4 * torch.eye(3))
