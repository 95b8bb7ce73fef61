"""The engine on graphs of half precision, layer by layer, against autograd's rows of the graph.

Autograd rounds the rows of a weight to half precision; the engine contracts what was saved, and the
cotangents, in float32. So they may differ by what half precision holds of a row, and no more.
"""

import pytest
import torch
from torch import Tensor, nn

from torchjd.autogram import Engine

from .half_precision import (
    HALVES,
    MODELS,
    NORMS,
    PLAIN,
    SETTINGS,
    Case,
    autocast,
    averaged,
    by_sample,
    gramian_rounding,
    rounding,
    same,
    wave,
)
from .harness import Alone, clear
from .oracle import Reference, by_rows, relative_error, trainable

pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
every_dtype = pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
every_norm = pytest.mark.parametrize("case", NORMS, ids=same)
every_model = pytest.mark.parametrize("case", MODELS, ids=same)
every_setting = pytest.mark.parametrize("setting", [PLAIN, *SETTINGS], ids=same)


def matrix(gramian: Tensor, m: int) -> Tensor:
    """Return a generalized Gramian as the matrix of the flattened losses, in float64."""
    k = gramian.ndim // 2
    order = [*range(k), *reversed(range(k, 2 * k))]
    return gramian.permute(order).reshape(m, m).double()


def assert_gramians(
    model: nn.Module, losses: Tensor, dtype: torch.dtype, batch_dim: int | None = 0
) -> None:
    """Assert that the Gramian is that of the rows, with respect to each parameter, and to all."""
    right = by_rows(losses, trainable(model))
    total = torch.zeros(losses.numel(), losses.numel(), dtype=torch.float64)
    allowed = total.clone()
    wrong = []
    for name, p in trainable(model).items():
        rows = right.jacobian[name].reshape(len(total), -1)
        assert rows.any(), f"{name} has no gradient: the case shows nothing"
        own, limit = rows @ rows.T, gramian_rounding(rows, dtype)
        total, allowed = total + own, allowed + limit
        found = Engine(Alone(p), batch_dim=batch_dim).compute_gramian(losses)
        assert found.dtype == torch.float32
        if not ((matrix(found, len(total)) - own).abs() <= limit).all():
            wrong.append(f"  {name}: off by {relative_error(matrix(found, len(total)), own):.3g}")
    assert not wrong, "\n".join(["these contributions are wrong", *wrong])
    found = matrix(Engine(model, batch_dim=batch_dim).compute_gramian(losses), len(total))
    assert ((found - total).abs() <= allowed).all()


@every_dtype
@every_norm
def test_normalisations_under_autocast(case, dtype):
    model = case.model()
    losses = PLAIN.losses(model, case.given(), dtype)
    assert_gramians(model, losses, dtype)


@every_dtype
@pytest.mark.parametrize("case", [*NORMS, *MODELS[:-1]], ids=same)  # the last one needs autocast
def test_parameters_of_half_precision(case, dtype):
    model = case.model(dtype)
    assert_gramians(model, by_sample(model(case.given().to(dtype))), dtype)


@every_dtype
@every_setting
@every_model
def test_gramians(case, setting, dtype):
    model = case.model()
    losses = setting.losses(model, case.given(), dtype)
    assert_gramians(model, losses, dtype, None if setting.loss is averaged else 0)


def powers(gramian: Tensor) -> Tensor:
    """Return weights that half precision multiplies by exactly, of both signs, and zero.

    With others, each node of the ordinary backward pass would round the weighted cotangents anew,
    and what is compared would differ by as many roundings as the graph is deep.
    """
    shape = gramian.shape[: gramian.ndim // 2]
    some = torch.tensor([1.0, -0.5, 0.0, 2.0, 0.25, -1.0, 0.5])
    return some.repeat(shape.numel())[: shape.numel()].view(shape)


def assert_gradients(
    model: nn.Module,
    expected: dict[str, Tensor],
    right: Reference,
    weights: Tensor,
    dtype: torch.dtype,
) -> None:
    wrong = []
    for name, p in trainable(model).items():
        rows = right.jacobian[name].reshape(weights.numel(), -1)
        # Each row is rounded, and the sum of them once more, by both.
        limit = weights.abs().double().flatten() @ rounding(rows, dtype)
        error = (p.grad.double() - expected[name].double()).norm()
        if not error <= limit:
            wrong.append(f"  {name}: off by {float(error):.3g}, {float(limit):.3g} allowed")
    assert not wrong, "\n".join(["these `.grad` are wrong", *wrong])


@pytest.mark.parametrize("mode", ["reuse", "stream"])
@every_dtype
@every_setting
@every_model
def test_backward(case, setting, dtype, mode):
    model, given = case.model(), case.given()
    losses = setting.losses(model, given, dtype)
    weights = powers(losses.new_empty(losses.shape * 2))
    right = by_rows(losses, trainable(model))
    torch.autograd.backward(losses, weights.to(losses.dtype))
    expected = {name: p.grad for name, p in trainable(model).items()}
    clear(model)
    engine = Engine(model, batch_dim=None if setting.loss is averaged else 0, mode=mode)
    # Running statistics do not enter the losses in training.
    found = engine.backward(setting.losses(model, given, dtype), powers)
    assert torch.equal(found, weights)
    if mode == "stream":
        assert all(torch.equal(p.grad, expected[name]) for name, p in trainable(model).items())
    assert_gradients(model, expected, right, weights, dtype)


@every_dtype
@every_model
def test_calls_within_autocast(case, dtype):
    """The same numbers as outside: what the engine computes does not depend on where it is."""
    model, given = case.model(), case.given()
    losses = PLAIN.losses(model, given, dtype)
    outside = Engine(model).compute_gramian(losses)
    Engine(model, mode="reuse").backward(losses, powers)
    expected = {name: p.grad for name, p in trainable(model).items()}
    right = by_rows(PLAIN.losses(model, given, dtype), trainable(model))
    clear(model)
    with autocast(dtype):
        losses = by_sample(model(given).float())
        assert torch.equal(Engine(model).compute_gramian(losses), outside)
        weights = Engine(model, mode="reuse").backward(losses, powers)
    assert_gradients(model, expected, right, weights, dtype)


@every_dtype
def test_the_cache_shares_one_conversion(dtype):
    """What is shared is read twice through one node, or else through two: one parameter anyway."""
    case = next(case for case in MODELS if case.name == "twice")
    given = case.given()
    gramians = []
    for cached in (True, False):
        model = case.model()
        with autocast(dtype, cached):
            losses = by_sample(model(given).float())
        assert_gramians(model, losses, dtype)
        gramians.append(Engine(model).compute_gramian(losses))
    assert relative_error(*gramians) < 1e-5


@every_dtype
@pytest.mark.parametrize("name", ["conv stack, group norm", "transformer", "mlp"])
def test_layers_are_served_by_rules(name, dtype):
    case = next(case for case in MODELS if case.name == name)
    model = case.model()
    report = Engine(model).check(PLAIN.losses(model, case.given(), dtype))
    assert {p.served_by for p in report.parameters} == {"rule"}
    assert not report.mixed_by
    assert not report.probed_for
    assert not report.second_backward
    assert all(p.name in str(report) for p in report.parameters)


@every_dtype
def test_batch_norm_is_reported(dtype):
    case = next(case for case in MODELS if case.name == "conv stack, batch norm")
    model = case.model()
    report = Engine(model).check(PLAIN.losses(model, case.given(), dtype))
    assert report.mixed_by == ("NativeBatchNormBackward0 (`4`, BatchNorm2d)",)
    served = {p.name: p.served_by for p in report.parameters}
    assert (served["8.weight"], served["4.weight"], served["3.weight"]) == ("rule", "rule", "rows")


@every_model
def test_scaled_losses(case):
    """Cotangents below float16 survive where the losses are scaled, as a gradient scaler does."""
    model, given = case.model(), case.given()
    plain = PLAIN.losses(model, given, torch.float16)
    exact = Engine(model).compute_gramian(plain).double()
    rows = by_rows(plain, trainable(model)).jacobian.values()
    limit = sum(gramian_rounding(row.reshape(len(exact), -1), torch.float16) for row in rows)

    def close(scale: float) -> bool:
        losses = PLAIN.losses(model, given, torch.float16) * 2.0**-18 * scale
        found = Engine(model).compute_gramian(losses).double() / (2.0**-18 * scale) ** 2
        return bool(((found - exact).abs() <= limit).all())

    assert close(2.0**16)
    assert not close(1.0), "the case shows nothing"


class Mixed(torch.autograd.Function):
    """A product with a matrix over the samples, which the engine has to find out about."""

    @staticmethod
    def forward(ctx, h: Tensor, mix: Tensor) -> Tensor:
        ctx.save_for_backward(mix)
        return (mix @ h.float()).to(h.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (mix,) = ctx.saved_tensors
        return (mix.T @ grad.float()).to(grad.dtype), None


MIXTURES = {
    "neighbours": lambda n: torch.eye(n).roll(1, 0),
    "mean": lambda n: torch.full((n, n), 1 / n),
    "nothing": lambda n: torch.zeros(n, n),
}


@every_dtype
@pytest.mark.parametrize("strength", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("samples", [4, 16, 24])
@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("first", ["half", "float32"])
def test_weak_mixtures_are_no_rounding(first, mixture, samples, strength, dtype):
    """What half precision rounds is as much as some samples may weigh in others."""
    mix = torch.eye(samples) + strength * MIXTURES[mixture](samples)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 7), nn.Linear(7, 5))
    with autocast(dtype):
        with torch.autocast("cpu", dtype=dtype, enabled=first == "half"):
            hidden = Mixed.apply(model[0](wave(samples, 4) + 1), mix).tanh()
        output = model[1](hidden)
    losses = by_sample(output.float())
    assert_gramians(model, losses, dtype)
    served = {p.name: p.served_by for p in Engine(model).check(losses).parameters}
    assert (served["0.weight"] == "rule") == (mixture == "nothing")


class Shares(nn.Module):
    """A weighting of which NaN in, NaN out."""

    def forward(self, gramian: Tensor) -> Tensor:
        return gramian.sum(dim=1) / gramian.sum()


@pytest.mark.parametrize("mode", ["reuse", "stream"])
@every_model
def test_overflow(case, mode):
    """A loss whose cotangents are beyond float16: what it touches is not finite, the rest right."""
    model, given = case.model(), case.given()
    scales = torch.ones(len(given))
    scales[2] = 2.0**40
    losses = PLAIN.losses(model, given, torch.float16) * scales
    right = by_rows(losses, trainable(model)).gramian()
    assert not right[2].isfinite().all(), "the case shows nothing"
    gramian = Engine(model, mode=mode).compute_gramian(losses)
    assert not gramian[2, 2].isfinite()
    others = torch.arange(len(given)) != 2
    known = gramian[others][:, others].double()
    exact = right[others][:, others]
    assert exact.isfinite().all()
    assert relative_error(known, exact) < 1e-2
    weights = Engine(model, mode=mode).backward(losses, Shares())
    assert weights.isnan().all()
    assert not all(p.grad.isfinite().all() for p in model.parameters())


def test_losses_beyond_float16():
    """A loss that is itself infinite, beside others that are not."""
    model = Case("linear", lambda: nn.Linear(4, 3), (5, 4)).model()
    given = wave(5, 4)
    given[3] *= 300.0
    with autocast(torch.float16):
        losses = model(given).square().sum(1)
    losses = losses.half() * 4
    assert losses[3].isinf()
    right = by_rows(losses, trainable(model)).gramian()
    gramian = Engine(model).compute_gramian(losses).double()
    finite = gramian.isfinite()
    assert finite[:3, :3].all()
    both = finite & right.isfinite()
    assert relative_error(gramian[both], right[both]) < 1e-2
