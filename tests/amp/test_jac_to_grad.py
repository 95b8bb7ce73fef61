"""`.grad` of scaled losses: what it is without a scale, times that; or all of it NaN."""

import warnings

import pytest
import torch
from torch import nn

import jd_amp
from torchjd.aggregation import Aggregator, GramianWeightedAggregator
from torchjd.autojac import backward, jac_to_grad
from torchjd.testing import assert_close

from .methods import OWN, Averaging, Shrinking, Total, Trimmed
from .tasks import SCALERS, in_use, stock

INPUTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def net(dtype=torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)


def losses_of(model):
    dtype = next(model.parameters()).dtype
    return model(INPUTS.to(dtype)).square().mean(dim=0)


def grads(model):
    return [parameter.grad for parameter in model.parameters()]


def scaled_jacobians(model, scaler):
    backward(scaler.scale(losses_of(model)))
    return [parameter.jac.clone() for parameter in model.parameters()]


class Failing(Aggregator):
    def forward(self, matrix, /):
        raise ArithmeticError("of its own")


@pytest.mark.parametrize("power", [-3, 0, 16])
@pytest.mark.parametrize("name", OWN)
def test_a_scale_that_is_a_power_of_two_leaves_no_trace(name, power):
    plain, scaled = net(), net()
    scaler = stock(init_scale=2.0**power)
    losses = losses_of(plain)
    backward(losses)
    extra = {"losses": losses.detach()} if name == "OfLosses" else {}
    expected = jac_to_grad(plain.parameters(), OWN[name](), **extra)
    backward(scaler.scale(losses_of(scaled)))
    weights = jd_amp.jac_to_grad(scaled.parameters(), OWN[name](), scaler=scaler, **extra)
    for one, other in zip(grads(scaled), grads(plain), strict=True):
        assert torch.equal(one, other * 2.0**power)
    assert (weights is None) == (expected is None)
    assert weights is None or torch.equal(weights, expected)
    assert not any(hasattr(parameter, "jac") for parameter in scaled.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_scale_and_dtype(dtype):
    plain, scaled = net(dtype), net(dtype)
    scaler = stock(init_scale=1000.0)
    backward(losses_of(plain))
    jac_to_grad(plain.parameters(), GramianWeightedAggregator(Shrinking()))
    backward(scaler.scale(losses_of(scaled)))
    jd_amp.jac_to_grad(scaled.parameters(), GramianWeightedAggregator(Shrinking()), scaler=scaler)
    for one, other in zip(grads(scaled), grads(plain), strict=True):
        assert one.dtype == dtype
        assert_close(one, 1000.0 * other)


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: torch.amp.GradScaler("cpu", enabled=False),
        lambda: jd_amp.JacobianScaler("cpu", enabled=False),
        lambda: jd_amp.JacobianScaler("cpu"),
    ],
)
def test_without_a_scale_it_is_that_of_the_core(make):
    plain, other = net(), net()
    for model in (plain, other):
        backward(losses_of(model))
    expected = jac_to_grad(plain.parameters(), GramianWeightedAggregator(Shrinking()))
    found = jd_amp.jac_to_grad(
        other.parameters(), GramianWeightedAggregator(Shrinking()), scaler=make()
    )
    assert torch.equal(found, expected)
    assert all(map(torch.equal, grads(other), grads(plain)))


@pytest.mark.parametrize("in_place", [True, False], ids=["dense", "sparse and expanded"])
def test_what_was_in_grad_is_added_to(in_place):
    model, scaler = net(), stock()
    scaled_jacobians(model, scaler)
    expected = [parameter.jac.sum(dim=0) for parameter in model.parameters()]
    before = [torch.full_like(parameter, 3.0) for parameter in model.parameters()]
    if not in_place:
        before[0] = torch.full((1, 1), 3.0).expand_as(before[0])
        before[2] = before[2].to_sparse()
    for parameter, grad in zip(model.parameters(), before, strict=True):
        parameter.grad = grad
    jd_amp.jac_to_grad(model.parameters(), Total(), scaler=scaler)
    for i, (parameter, rows) in enumerate(zip(model.parameters(), expected, strict=True)):
        assert_close(parameter.grad, rows + 3.0)
        assert (parameter.grad is before[i]) == (in_place or i in (1, 3))


def test_a_jac_that_is_kept_is_as_it_was():
    model, scaler = net(), stock()
    before = scaled_jacobians(model, scaler)
    tensors = [parameter.jac for parameter in model.parameters()]
    jd_amp.jac_to_grad(model.parameters(), Total(), scaler=scaler, retain_jac=True)
    for parameter, tensor, values in zip(model.parameters(), tensors, before, strict=True):
        assert parameter.jac is tensor
        assert torch.equal(tensor, values)


def test_a_jac_that_cannot_be_written_to():
    parameter = nn.Parameter(torch.zeros(3))
    parameter.jac = torch.tensor([2048.0]).expand(2, 3)
    jd_amp.jac_to_grad([parameter], Total(), scaler=in_use(stock()), retain_jac=True)
    assert parameter.grad.tolist() == [4096.0] * 3
    assert parameter.jac.stride() == (0, 0)
    assert parameter.jac.tolist() == [[2048.0] * 3] * 2


@pytest.mark.parametrize("shape", [(3,), (1, 3)], ids=["tensor", "elements"])
def test_a_jac_that_two_parameters_share_is_not_divided_twice(shape):
    params = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(shape))]
    params[0].jac = torch.full((2, 3), 2048.0)
    params[1].jac = params[0].jac if shape == (3,) else params[0].jac.view(2, *shape)
    jd_amp.jac_to_grad(params, Total(), scaler=in_use(stock()), retain_jac=True)
    assert [parameter.grad.flatten().tolist() for parameter in params] == [[4096.0] * 3] * 2
    assert bool((params[0].jac == 2048.0).all())


def without_jac(params):
    del params[1].jac


def with_other_rows(params):
    params[1].jac = torch.ones(7, *params[1].shape)


@pytest.mark.parametrize(
    ("spoil", "arguments", "error", "match"),
    [
        (None, {"aggregator": Failing()}, ArithmeticError, "of its own"),
        (None, {"aggregator": Total}, TypeError, "`aggregator` must be an Aggregator"),
        (None, {"aggregator": OWN["OfLosses"]()}, TypeError, "`losses` must be given"),
        (without_jac, {}, ValueError, r"`tensors` must each have a `\.jac`"),
        (with_other_rows, {}, ValueError, r"`tensors\[1\]\.jac` must have shape"),
        (lambda params: params.append(params[0]), {}, ValueError, "contain a tensor twice"),
        (lambda params: params.clear(), {}, ValueError, "at least one tensor"),
        (lambda params: params.append("w"), {}, TypeError, "must contain tensors only"),
        (None, {"scaler": 1024.0}, TypeError, "`scaler` must be a torch.amp.GradScaler.*Got float"),
        (None, {"scaler": jd_amp.JacobianScaler}, TypeError, "Got the class JacobianScaler"),
    ],
)
def test_a_refusal_leaves_everything_as_it_was(spoil, arguments, error, match):
    model, scaler = net(), stock()
    scaled_jacobians(model, scaler)
    params = list(model.parameters())
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    if spoil is not None:
        spoil(params)
    held = [(p, p.grad, getattr(p, "jac", None)) for p in params if isinstance(p, nn.Parameter)]
    values = [None if jac is None else jac.clone() for _, _, jac in held]
    with pytest.raises(error, match=match):
        jd_amp.jac_to_grad(params, **{"aggregator": Total(), "scaler": scaler, **arguments})
    for (parameter, grad, jac), value in zip(held, values, strict=True):
        assert parameter.grad is grad
        assert bool((grad == 1.0).all())
        assert getattr(parameter, "jac", None) is jac
        assert jac is None or torch.equal(jac, value)


def test_float16_is_refused_by_name():
    params = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3, dtype=torch.float16))]
    for parameter in params:
        parameter.jac = torch.ones(2, *parameter.shape, dtype=parameter.dtype)
    with pytest.raises(TypeError, match=r"params\[1\], of shape \[3\].*Keep parameters in float32"):
        jd_amp.jac_to_grad(params, Total(), scaler=in_use(stock()))
    assert bool((params[0].jac == 1).all())


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("scaler", [*SCALERS.values(), lambda: None], ids=[*SCALERS, "none"])
@pytest.mark.parametrize("aggregator", [Trimmed, Failing, Averaging])
@pytest.mark.parametrize("retain_jac", [True, False])
def test_what_is_not_finite_reaches_grad_and_not_the_aggregator(
    aggregator, scaler, value, retain_jac
):
    model, aggregator = net(), aggregator()
    scaled_jacobians(model, stock())
    params = list(model.parameters())
    params[2].jac[1, 0, 3] = value
    params[1].grad = torch.ones_like(params[1])
    before = params[1].grad
    state = {name: tensor.clone() for name, tensor in aggregator.state_dict().items()}
    scaler = in_use(scaler())
    weights = jd_amp.jac_to_grad(params, aggregator, scaler=scaler, retain_jac=retain_jac)
    assert weights is None
    assert params[1].grad is before
    assert all(bool(parameter.grad.isnan().all()) for parameter in params)
    assert all(hasattr(parameter, "jac") == retain_jac for parameter in params)
    assert all(torch.equal(state[name], t) for name, t in aggregator.state_dict().items())


@pytest.mark.parametrize("scaler", [*SCALERS.values(), lambda: None], ids=[*SCALERS, "none"])
def test_a_loss_that_is_not_finite_reaches_only_who_does_not_read_it(scaler, monkeypatch):
    losses, scaler = torch.tensor([1.0, torch.inf]), in_use(scaler())
    for needs_losses in (True, False):
        model, aggregator = net(), Averaging()
        monkeypatch.setattr(Averaging, "needs_losses", needs_losses)
        scaled_jacobians(model, stock(init_scale=1.0))
        jd_amp.jac_to_grad(model.parameters(), aggregator, scaler=scaler, losses=iter(losses))
        assert aggregator.calls == (0 if needs_losses else 1)
        assert all(bool(grad.isnan().all()) == needs_losses for grad in grads(model))


def test_a_stock_scaler_that_has_scaled_nothing_is_refused():
    model, scaler = net(), stock()
    backward(losses_of(model))  # and not `scaler.scale(losses_of(model))`
    with pytest.raises(RuntimeError, match=r"must have scaled the losses.*`scaler\.scale"):
        jd_amp.jac_to_grad(model.parameters(), Total(), scaler=scaler)
    assert grads(model) == [None] * 4
    with pytest.raises(AssertionError, match="_scale is None"):  # as without this library
        scaler.step(torch.optim.SGD(model.parameters()))


def test_a_parameter_twice_is_refused_where_nothing_is_finite_too():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.jac = torch.full((3, 2), torch.inf)
    with pytest.raises(ValueError, match="contain a tensor twice"):
        jd_amp.jac_to_grad([parameter, parameter], Total(), scaler=stock())
    assert parameter.grad is None


def test_a_scale_that_went_out_of_range_is_no_scale():
    model, scaler = net(), stock(init_scale=0.0)
    scaled_jacobians(model, scaler)
    jd_amp.jac_to_grad(model.parameters(), Trimmed(), scaler=scaler)
    assert all(bool(grad.isnan().all()) for grad in grads(model))


def test_parameters_without_elements_are_no_obstacle():
    params = [nn.Parameter(torch.zeros(0)), nn.Parameter(torch.zeros(2))]
    for parameter in params:
        parameter.jac = torch.ones(3, *parameter.shape)
    jd_amp.jac_to_grad(params, Total(), scaler=in_use(stock(init_scale=2.0)))
    assert params[1].grad.tolist() == [3.0, 3.0]


def test_within_autocast():
    model, scaler = net(), stock()
    backward(scaler.scale(losses_of(model)))
    expected = [parameter.jac.sum(dim=0) for parameter in model.parameters()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        jd_amp.jac_to_grad(model.parameters(), Total(), scaler=scaler)
    for grad, rows in zip(grads(model), expected, strict=True):
        assert_close(grad, rows)


def test_a_scaler_that_torch_calls_by_an_old_name():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        scaler = torch.cpu.amp.GradScaler(init_scale=4.0)
    model = net()
    scaled_jacobians(model, scaler)
    jd_amp.jac_to_grad(model.parameters(), Total(), scaler=scaler)
    assert all(bool(grad.isfinite().all()) for grad in grads(model))
