"""Training in half precision: what is lost without a scale for each objective, and what is not."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

import jd_amp
from torchjd import autojac
from torchjd.aggregation import GramianWeightedAggregator
from torchjd.testing import assert_close

from .methods import OWN, Averaging, Shrinking, Total, installed
from .tasks import (
    SCALERS,
    M,
    Tasks,
    aggregate,
    batch,
    differentiate,
    jacobian,
    same,
    step,
    stock,
)

FAR = (1e6, 1.0, 1e-6)


def rows(model):
    return torch.cat([p.jac.flatten(1) for p in model.shared()], dim=1).double()


def settled_rows(scaler, steps):
    """Return the Jacobian, not scaled, of the last pass that the scaler let through."""
    model, found = Tasks(), None
    for _ in range(steps):
        losses, features = model(batch(0))
        differentiate(scaler, [f * x for f, x in zip(FAR, losses, strict=True)], features)
        found = rows(model) if bool(rows(model).isfinite().all()) else found
        scale = scaler.get_scale() if type(scaler) is torch.amp.GradScaler else 1.0
        jd_amp.jac_to_grad(model.shared(), Total(), scaler=scaler)
        scaler.step(SGD(model.parameters(), lr=0.0))
        scaler.update()
    return found / scale


def test_one_scale_for_all_loses_the_row_that_a_scale_of_its_own_keeps():
    exact = Tasks(halves=False).double()
    losses, features = exact(batch(0).double())
    autojac.mtl_backward([f * x for f, x in zip(FAR, losses, strict=True)], features)
    expected = rows(exact)

    one_for_all = settled_rows(stock(init_scale=2.0**16), steps=40)
    own = settled_rows(jacobian(growth_interval=1, growth_factor=4.0), steps=40)

    assert bool((one_for_all[2] == 0).all())
    assert float(torch.cosine_similarity(one_for_all[0], expected[0], dim=0)) > 0.999
    assert bool((torch.cosine_similarity(own, expected, dim=1) > 0.999).all())
    assert_close((own.norm(dim=1) / expected.norm(dim=1)).half(), torch.ones(M))


METHODS = {**{name: lambda m, make=make: make() for name, make in OWN.items()}}
METHODS |= {name: lambda m, name=name: installed(m)[name]() for name in installed(M)}


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("name", METHODS)
def test_an_overflow_is_skipped_and_forgotten(name, scaler):
    scaler, model, aggregator = SCALERS[scaler](), Tasks(), METHODS[name](M)
    # Methods without a bound on the length of what they give need small steps.
    optimizer = SGD(model.parameters(), lr=1e-3, momentum=0.9)
    for k in range(6):
        factors = (1.0, 1e10, 1.0) if k == 3 else (1.0,) * M
        before, scale = model.copies(), scaler.get_scale()
        memory = copy.deepcopy((optimizer.state_dict()["state"], aggregator.state_dict()))
        step(scaler, model, optimizer, aggregator, batch(k), factors)
        assert same(model.parameters(), before) == (k == 3)
        if k == 3:
            assert scaler.get_scale() == 0.5 * scale
            now = optimizer.state_dict()["state"], aggregator.state_dict()
            assert_same_state(now, memory)
        else:
            assert scaler.get_scale() == scale
    if isinstance(scaler, jd_amp.JacobianScaler):
        assert scaler.scales().tolist() == [1024.0, 512.0, 1024.0]
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def assert_same_state(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_state(one[key], other[key])
    elif isinstance(one, tuple | list):
        for a, b in zip(one, other, strict=True):
            assert_same_state(a, b)
    else:
        assert one == other


OPTIMIZERS = {
    "SGD": lambda params: SGD(params, lr=0.05, momentum=0.9),
    "Adam": lambda params: Adam(params, lr=0.01),
    "fused Adam": lambda params: Adam(params, lr=0.01, fused=True),
}


def accumulate(scaler, make_optimizer, parts, max_norm=None, seen=None):
    """Train for three steps of several micro-batches each; return the parameters."""
    model = Tasks(halves=False)
    optimizer = make_optimizer(model.parameters())
    aggregator = GramianWeightedAggregator(Shrinking())
    for k in range(3):
        optimizer.zero_grad()
        for inputs in batch(k, size=8).chunk(parts):
            losses, features = model(inputs)
            losses = [loss / parts for loss in losses]
            differentiate(scaler, losses, features)
        aggregate(scaler, aggregator, model.shared(), losses)
        if scaler is not None and max_norm is not None:
            scaler.unscale_(optimizer)
        if max_norm is not None:
            norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            assert norm > max_norm  # or nothing is tested
        optimizer.step() if scaler is None else scaler.step(optimizer)
        if scaler is not None:
            scaler.update()
    return model.copies()


@pytest.mark.parametrize("max_norm", [None, 0.01])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("scaler", SCALERS)
def test_micro_batches_are_one_batch(scaler, optimizer, max_norm):
    make = OPTIMIZERS[optimizer]
    plain = accumulate(None, make, 4, max_norm)
    found = accumulate(SCALERS[scaler](), make, 4, max_norm)
    whole = accumulate(None, make, 1, max_norm)
    for one, other, exact in zip(found, plain, whole, strict=True):
        # A scale is a power of two, by which float32 multiplies exactly.
        assert torch.equal(one, other)
        # Adam divides by gradients that may be small, and what rounds them differently shows.
        assert_close(one, exact, scale=10.0 * float(exact.abs().max()))


@pytest.mark.parametrize("scaler", SCALERS)
def test_an_overflow_in_one_micro_batch_skips_the_whole(scaler):
    model, scaler, aggregator = Tasks(), SCALERS[scaler](), Averaging()
    optimizer = SGD(model.parameters(), lr=0.1)
    before = model.copies()
    for factor in (1.0, 1e10, 1.0):
        losses, features = model(batch(0))
        differentiate(scaler, [factor * losses[0], *losses[1:]], features)
    aggregate(scaler, aggregator, model.shared(), losses)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert same(model.parameters(), before)
    assert aggregator.calls == 0
    assert scaler.get_scale() == 512.0


def test_a_head_of_two_tasks_gets_the_exact_sum_whatever_their_scales():
    found = []
    for scaler in (None, jacobian()):
        model = Tasks(halves=False)
        features = model.trunk(batch(0))
        both, third = model.heads[0], model.heads[1]
        outputs = [both(features), both(features) - 1.0, third(features)]
        losses = [y.square().mean() for y in outputs]
        heads = [list(head.parameters()) for head in (both, both, third)]
        if scaler is None:
            autojac.mtl_backward(losses, features, tasks_params=heads)
        else:
            state = {"scales": [2.0**60, 2.0**-60, 1.0], "growth_trackers": [0, 0, 0]}
            scaler.load_state_dict({**scaler.state_dict(), **state})
            scaler.mtl_backward(losses, features, tasks_params=heads)
            assert scaler.scales().tolist() == state["scales"]
        found.append([*(p.grad for p in heads[0] + heads[2]), *(p.jac for p in model.shared())])
    assert same(*found)


def test_bfloat16_needs_no_scaler_and_skips_what_overflows_all_the_same():
    model, aggregator = Tasks(), Averaging()
    model.dtype = torch.bfloat16
    optimizer = Adam(model.parameters(), lr=0.01)
    handle = jd_amp.skip_nonfinite_steps(optimizer)
    for k in range(4):
        before = model.copies()
        step(None, model, optimizer, aggregator, batch(k), (1.0, 1e39 if k == 2 else 1.0, 1.0))
        assert same(model.parameters(), before) == (k == 2)
        assert aggregator.calls == min(k + 1, 3 if k > 2 else 2)
    handle.remove()
    step(None, model, optimizer, aggregator, batch(0), (torch.inf, 1.0, 1.0))
    assert bool(model.trunk[0].weight.isnan().all())


@pytest.mark.parametrize("scaler", SCALERS)
def test_training_goes_on_from_a_checkpoint_bit_for_bit(scaler, tmp_path):
    settings = {"growth_interval": 3}

    def objects():
        model = Tasks()
        return model, Adam(model.parameters(), lr=0.01), SCALERS[scaler](**settings)

    def train(model, optimizer, its_scaler, steps):
        for k in steps:
            factors = (1e10 if k == 2 else 1.0, 1.0, 1e-3)
            step(its_scaler, model, optimizer, Total(), batch(k), factors)

    through = objects()
    train(*through, range(10))
    first = objects()
    train(*first, range(5))
    torch.save([each.state_dict() for each in first], tmp_path / "checkpoint")
    second = objects()
    states = torch.load(tmp_path / "checkpoint", weights_only=True)
    for each, state in zip(second, states, strict=True):
        each.load_state_dict(state)
    train(*second, range(5, 10))
    assert same(second[0].parameters(), through[0].parameters())
    assert second[2].state_dict() == through[2].state_dict()


def test_it_takes_the_place_of_the_stock_scaler_in_the_loop_of_the_tutorial():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))
    opt = SGD(net.parameters(), lr=0.05)
    scaler = jd_amp.JacobianScaler("cpu")
    data = [torch.randn(32, 16) for _ in range(5)]
    targets = [torch.stack([x[:, 0], x[:, 1] - x[:, 2]], dim=1) for x in data]
    loss_fn = nn.MSELoss()
    history = []
    for _ in range(8):
        for x, target in zip(data, targets, strict=True):
            with torch.autocast(device_type="cpu", dtype=torch.float16):
                output = net(x)
                losses = [loss_fn(output[:, i], target[:, i].half()) for i in range(2)]
            scaler.mtl_backward(losses)
            jd_amp.jac_to_grad(net[:2].parameters(), Total(), scaler=scaler)
            jd_amp.jac_to_grad(net[2].parameters(), Total(), scaler=scaler)
            scaler.step(opt)
            scaler.update()
            opt.zero_grad()
        history.append(float(sum(losses).detach()))
    assert history[-1] < 0.2 * history[0]
