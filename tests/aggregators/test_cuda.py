"""The same answers on a GPU; skipped, and said so, where there is none."""

import pytest
import torch
from torch import nn

import jd_aggregators
import torchjd
from torchjd.autojac import jac
from torchjd.testing import assert_close
from torchjd.testing.matrices import conflicting, of_rank

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", ["UPGrad", "DualProj", "Mean", "Sum"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_aggregators(name, dtype):
    for matrix in (conflicting(6, 40), of_rank(6, 40, 3)):
        aggregator = getattr(jd_aggregators, name)()
        found = aggregator(matrix.to("cuda", dtype))
        assert found.device.type == "cuda"
        assert_close(found.cpu(), aggregator(matrix.to(dtype)), scale=float(matrix.norm()))


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
def test_the_jacobian(chunk_size):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs = torch.randn(6, 5, dtype=torch.float64)
    expected = jac(net(inputs), net.parameters())
    net.cuda()
    found = jac(net(inputs.cuda()), net.parameters(), parallel_chunk_size=chunk_size)
    for one, other in zip(found, expected, strict=True):
        assert_close(one.cpu(), other)


def test_parameters_on_two_devices():
    near, far = nn.Linear(3, 4).double(), nn.Linear(4, 2).double().cuda()
    parameters = [*near.parameters(), *far.parameters()]
    losses = far(near(torch.ones(5, 3, dtype=torch.float64)).cuda()).pow(2).mean(dim=0)
    torchjd.backward(losses, parameters, jd_aggregators.UPGrad())
    assert [p.grad.device for p in parameters] == [p.device for p in parameters]
