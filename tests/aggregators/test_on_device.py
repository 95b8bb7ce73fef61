"""A whole step on a GPU reads nothing on the host: traced with fake CUDA tensors, so anywhere."""

import pytest
import torch
from torch import nn

from jd_aggregators import DualProj, ExactProjector, Mean, MinNormSolver, Sum, UPGrad
from tests.fake_cuda import _view, fake_cuda
from torchjd.autojac import jac_to_grad

from .test_conformance import MIN_ROWS, TABLE

ROWS = {"enumeration": 8, "interior point": 16, "matrix products": 300}
STEPS = {
    "UPGrad": UPGrad,
    "UPGrad, damped": lambda: UPGrad(projector=ExactProjector(damping=1e-3)),
    "UPGrad, warm": lambda: UPGrad(warm_start=True),
    "DualProj": DualProj,
    "Mean": Mean,
    "Sum": Sum,
}


@pytest.mark.parametrize("m", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_reads_nothing_on_the_host(step, m):
    with fake_cuda():
        shapes = {(4, 3): torch.float32, (5,): torch.float64, (2, 1): torch.bfloat16}
        params = [nn.Parameter(torch.empty(s, device="cuda", dtype=d)) for s, d in shapes.items()]
        aggregator = STEPS[step]()
        for _ in range(2):
            for param in params:
                param.jac = torch.empty(m, *param.shape, device="cuda", dtype=param.dtype)
            jac_to_grad(params, aggregator)
        for param in params:
            assert param.grad.device.type == "cuda"
            assert param.grad.dtype == param.dtype


RESIDENT = [name for name, make in TABLE.items() if make(4).traits.on_device]


@pytest.mark.parametrize("m", [2, 8])
@pytest.mark.parametrize("name", RESIDENT)
def test_what_a_method_declares_of_the_device_is_so(name, m):
    m = max(m, MIN_ROWS.get(name, 1))
    with fake_cuda():
        params = [nn.Parameter(torch.empty(s, device="cuda")) for s in [(4, 3), (5,)]]
        aggregator = TABLE[name](m)
        extra = {
            "losses": torch.empty(m, device="cuda"),
            "cross_gramian": torch.empty(m, m, device="cuda", dtype=torch.float64),
        }
        for _ in range(3):
            for param in params:
                param.jac = torch.empty(m, *param.shape, device="cuda")
            jac_to_grad(params, aggregator, **extra)
        assert all(param.grad.device.type == "cuda" for param in params)


@pytest.mark.parametrize("m", ROWS.values(), ids=ROWS)
def test_the_least_norm_is_found_there_too(m):
    with fake_cuda():
        weights = MinNormSolver()(torch.empty(2, m, m, device="cuda"))
    assert weights.shape == (2, m)
    assert weights.device.type == "cuda"


@pytest.mark.parametrize(
    "read",
    [
        lambda x: bool(x.sum() > 0),
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
    ],
)
def test_a_read_on_the_host_would_be_caught(read):
    refusal = "_local_scalar_dense|nonzero|reads values|not linked"
    with fake_cuda(), pytest.raises((RuntimeError, AssertionError), match=refusal):
        read(torch.empty(3, device="cuda"))


@pytest.mark.parametrize("copy", [lambda x: x.cpu(), lambda x: x.to("cpu", torch.float64)])
def test_a_copy_to_the_host_would_be_caught(copy):
    with fake_cuda(), pytest.raises(AssertionError, match="copied to the host"):
        copy(torch.empty(3, device="cuda"))


@pytest.mark.parametrize(
    "index",
    [0, ..., (..., None), (None, ...), (slice(None), None), (..., 0), (slice(1, 3), ..., None)],
    ids=str,
)
def test_views_are_those_of_torch(index):
    tensor = torch.arange(24).view(4, 3, 2)
    assert torch.equal(_view(tensor, index), tensor[index])
