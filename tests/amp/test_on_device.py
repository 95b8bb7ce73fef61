"""On a GPU nothing is read on the host: traced with fake tensors anywhere, and run where one is."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim import Adam

import jd_amp
from tests.fake_cuda import fake_cuda
from torchjd.aggregation import GramianWeightedAggregator, WeightedAggregator, Weighting
from torchjd.autojac import jac_to_grad, mtl_backward
from torchjd.testing import assert_close

from .methods import OfLosses, Shrinking, Total, Trimmed
from .tasks import in_use

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

AGGREGATORS = {
    "weighted": lambda: GramianWeightedAggregator(Shrinking()),
    "whole": Trimmed,
}


def params_with_jac(device, shapes=((4, 3), (5,)), m=3):
    params = [nn.Parameter(torch.ones(shape, device=device)) for shape in shapes]
    for parameter in params:
        parameter.jac = torch.ones(m, *parameter.shape, device=device)
    return params


def enabled(kind, device="cpu"):
    """Return a scaler for any device, in use, that is not disabled for want of a GPU."""
    scaler = {
        "stock": lambda: torch.amp.GradScaler("cpu"),
        "jacobian": lambda: jd_amp.JacobianScaler("cpu"),
        "none": lambda: None,
    }[kind]()
    return in_use(scaler, device)


@pytest.mark.parametrize("retain_jac", [False, True])
@pytest.mark.parametrize("kind", ["stock", "jacobian", "none"])
@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregation_reads_nothing_on_the_host(name, kind, retain_jac):
    with fake_cuda():
        params = params_with_jac("cuda")
        params[0].grad = torch.ones(4, 3, device="cuda")
        aggregator = AGGREGATORS[name]()
        weights = jd_amp.jac_to_grad(
            params, aggregator, scaler=enabled(kind, "cuda"), retain_jac=retain_jac
        )
        assert weights is None or weights.device.type == "cuda"
        assert all(parameter.grad.device.type == "cuda" for parameter in params)
        assert all(hasattr(parameter, "jac") == retain_jac for parameter in params)


@pytest.mark.parametrize("weighting", [Shrinking, OfLosses])
def test_weighting_reads_nothing_on_the_host(weighting):
    with fake_cuda():
        unscaled = jd_amp.UnscaledWeighting(weighting(), enabled("stock", "cuda"))
        losses = torch.ones(3, device="cuda")
        weights = unscaled(torch.ones(3, 3, device="cuda"), losses=losses)
        assert weights.device.type == "cuda"


def test_the_update_of_the_scales_reads_nothing_on_the_host():
    scaler = jd_amp.JacobianScaler("cpu")
    with fake_cuda():
        scales = torch.ones(3, device="cuda")
        # What a pass does, less the graph: fake tensors of a GPU have none on every build.
        scaler._objectives.record(scales, torch.ones(3, dtype=torch.bool, device="cuda"))
        scaler._passes += 1
        parameter = nn.Parameter(torch.ones(2, device="cuda"))
        parameter.grad = torch.ones(2, device="cuda")
        scaler.unscale_(Adam([parameter]))
        scaler.update()
        assert scaler.scales().device.type == "cuda"


@pytest.fixture
def as_elsewhere(monkeypatch):
    """Let tensors on the host be treated as if looking at them meant to wait for a device."""
    for module in ("_jac_to_grad", "_unscaled_weighting"):
        monkeypatch.setattr(f"jd_amp.{module}.is_on_host", lambda tensors: False)


@pytest.mark.parametrize("value", [1.0, torch.inf, torch.nan])
@pytest.mark.parametrize("kind", ["stock", "jacobian", "none"])
@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_mask(as_elsewhere, name, kind, value):
    params, plain = params_with_jac("cpu"), params_with_jac("cpu")
    params[1].jac[2, 4] = value
    before = params[0].grad = torch.ones(4, 3)
    scaler = enabled(kind)
    scale = 2.0**16 if kind == "stock" else 1.0
    for parameter in plain:
        parameter.jac /= scale
    expected = jac_to_grad(plain, AGGREGATORS[name]())
    weights = jd_amp.jac_to_grad(params, AGGREGATORS[name](), scaler=scaler)
    assert params[0].grad is before
    assert (weights is None) == (expected is None)
    if value == 1.0:
        assert weights is None or torch.equal(weights, expected)
        assert torch.equal(params[0].grad, scale * plain[0].grad + 1.0)
        assert torch.equal(params[1].grad, scale * plain[1].grad)
    else:
        assert weights is None or bool(weights.isnan().all())
        assert all(bool(parameter.grad.isnan().all()) for parameter in params)


@pytest.mark.parametrize("value", [1.0, torch.inf])
def test_a_jac_that_is_kept_is_scaled_or_masked(as_elsewhere, value):
    params = params_with_jac("cpu")
    params[0].jac[0, 0, 0] = value
    jd_amp.jac_to_grad(params, Total(), scaler=enabled("stock"), retain_jac=True)
    for parameter in params:
        if value == 1.0:
            assert bool((parameter.jac == 1.0).all())
        else:
            assert bool(parameter.jac.isnan().all())


class Halves(Weighting):
    """Weights that say nothing of what they are of."""

    def __init__(self, needs):
        super().__init__()
        self.needs = needs

    def forward(self, stat, /):
        return torch.full((len(stat),), 0.5)


def test_weights_that_do_not_depend_on_the_rows_are_masked_too(as_elsewhere):
    params = params_with_jac("cpu")
    params[0].jac[0, 0, 0] = torch.inf
    aggregator = WeightedAggregator(Halves("row count"))
    assert bool(jd_amp.jac_to_grad(params, aggregator, scaler=None).isnan().all())
    gramian = torch.full((2, 2), torch.inf)
    weights = jd_amp.UnscaledWeighting(Halves("gramian"), enabled("stock"))(gramian)
    assert bool(weights.isnan().all())


@pytest.mark.parametrize("value", [1.0, torch.inf])
def test_the_mask_of_weights(as_elsewhere, value):
    losses = torch.tensor([2.0, value])
    weights = jd_amp.UnscaledWeighting(OfLosses(), enabled("stock"))(torch.eye(2), losses=losses)
    if value == 1.0:
        assert torch.equal(weights, losses / 2.0**16)
    else:
        assert bool(weights.isnan().all())


def two_heads(device):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 64), nn.Tanh()).to(device)
    heads = nn.ModuleList([nn.Linear(64, 1), nn.Linear(64, 1)]).to(device)
    return trunk, heads


def train(scaler, device, steps, *, factor=1.0, waits=True):
    """Take steps in float16; return the parameters. ``waits`` is whether the host may."""
    trunk, heads = two_heads(device)
    params = [*trunk.parameters(), *heads.parameters()]
    optimizer = Adam(params, lr=1e-2, eps=1e-2, fused=True)
    inputs = torch.randn(32, 4, generator=torch.Generator().manual_seed(0)).to(device)
    aggregator = GramianWeightedAggregator(Shrinking())
    for k in range(steps):
        if k == 1 and not waits:  # what torch sets up once may wait
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
        with torch.autocast(device, dtype=torch.float16):
            features = trunk(inputs)
            outputs = [head(features) for head in heads]
        losses = [y.float().square().mean() * factor for y in outputs]
        optimizer.zero_grad()
        if isinstance(scaler, jd_amp.JacobianScaler):
            scaler.mtl_backward(losses, features)
        else:
            mtl_backward([scaler.scale(loss) for loss in losses], features)
        jd_amp.jac_to_grad(trunk.parameters(), aggregator, scaler=scaler)
        scaler.step(optimizer)
        scaler.update()
    return [parameter.detach().cpu() for parameter in params]


@needs_gpu
@pytest.mark.parametrize("kind", [torch.amp.GradScaler, jd_amp.JacobianScaler])
def test_a_fused_step_waits_for_nothing(kind):
    try:
        train(kind("cuda"), "cuda", 4, waits=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.parametrize("kind", [torch.amp.GradScaler, jd_amp.JacobianScaler])
def test_training_on_a_gpu_is_that_on_a_cpu(kind):
    there, here = (train(kind(device), device, 3) for device in ("cuda", "cpu"))
    for one, other in zip(there, here, strict=True):
        assert_close(one.half(), other)


@needs_gpu
@pytest.mark.parametrize("kind", [torch.amp.GradScaler, jd_amp.JacobianScaler])
def test_an_overflow_on_a_gpu_changes_nothing(kind):
    scaler = kind("cuda")
    found = train(scaler, "cuda", 1, factor=1e30)
    trunk, heads = two_heads("cuda")
    for one, other in zip(found, [*trunk.parameters(), *heads.parameters()], strict=True):
        assert torch.equal(one, other.detach().cpu())
    assert scaler.get_scale() == 2.0**15


@needs_gpu
@pytest.mark.parametrize("value", [1.0, torch.inf])
@pytest.mark.parametrize("kind", ["stock", "jacobian", "none"])
def test_parameters_on_two_devices(kind, value):
    near, far = params_with_jac("cpu")[:1], params_with_jac("cuda")[1:]
    near[0].jac[0, 0, 0] = value
    weights = jd_amp.jac_to_grad(
        [*near, *far], GramianWeightedAggregator(Shrinking()), scaler=enabled(kind)
    )
    assert bool(weights.isfinite().all()) == (value == 1.0)
    for parameter in (*near, *far):
        assert parameter.grad.device == parameter.device
        assert bool(parameter.grad.isnan().any()) == (value != 1.0)


@needs_gpu
def test_a_mask_leaves_no_infinity_that_is_hidden():
    params = params_with_jac("cuda")
    params[1].jac[2, 4] = torch.inf
    before = params[0].grad = torch.ones(4, 3, device="cuda")
    assert jd_amp.jac_to_grad(params, Trimmed(), scaler=torch.amp.GradScaler("cuda")) is None
    assert params[0].grad is before
    assert all(bool(parameter.grad.isnan().all()) for parameter in params)


def test_a_scaler_that_is_disabled_for_want_of_a_gpu_scales_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scaler = torch.amp.GradScaler("cuda")
    params = params_with_jac("cpu")
    jd_amp.jac_to_grad(params, Total(), scaler=scaler)
    assert bool((params[0].grad == 3.0).all())
