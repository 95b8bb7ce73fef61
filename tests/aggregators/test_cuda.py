"""The same answers on a GPU; skipped, and said so, where there is none."""

import pytest
import torch
from torch import nn

import jd_aggregators
import torchjd
from jd_aggregators import ActiveSetProjector, ExactProjector, ResidentProjector
from torchjd.autojac import jac, jac_to_grad
from torchjd.testing import assert_close
from torchjd.testing.matrices import conflicting, gaussian, of_rank

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


# Rows for the enumeration, the interior-point method, and matrix products.
ROWS = [2, 8, 32, 600]


@pytest.mark.parametrize("m", ROWS)
@pytest.mark.parametrize("projector", [ExactProjector, ResidentProjector])
def test_projections(projector, m):
    for matrix in (gaussian(m, 4 * m), conflicting(m, 4 * m)):
        gramian, rows = matrix @ matrix.T, slice(None, None, max(1, m // 16))
        U = torch.eye(m, dtype=torch.float64)[rows]
        expected = ActiveSetProjector()(U, gramian) @ matrix
        found = projector().solve(U.cuda(), gramian.cuda(), certify=True)
        assert_close(found.weights.cpu() @ matrix, expected, scale=float(matrix.norm(dim=1).max()))
        assert max(float(part.max()) for part in found.residual) < 1e-10


def parameters(m):
    """Return parameters on the GPU with a Jacobian of ``m`` rows in their ``.jac``."""
    generator = torch.Generator("cuda").manual_seed(m)
    shapes = [(64, 32), (64,), (32, 3, 3)]
    params = [nn.Parameter(torch.zeros(shape, device="cuda")) for shape in shapes]
    for param in params:
        param.jac = torch.randn(m, *param.shape, device="cuda", generator=generator)
    return params


@pytest.mark.parametrize("m", ROWS)
@pytest.mark.parametrize("name", ["UPGrad", "DualProj", "Mean"])
def test_a_step_waits_for_nothing(name, m):
    aggregator = getattr(jd_aggregators, name)()
    jac_to_grad(parameters(m), aggregator)  # what torch sets up once may wait
    params = parameters(m)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        jac_to_grad(params, aggregator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bool(param.grad.isfinite().all()) for param in params)


@pytest.mark.parametrize("m", [8, 32])
def test_a_step_in_a_cuda_graph(m):
    rows = torch.stack([conflicting(m, 64, seed) for seed in range(2)]).cuda()
    aggregator = jd_aggregators.UPGrad()
    matrix = rows[0].clone()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        aggregator(matrix)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = aggregator(matrix)
    for jacobian in rows:
        matrix.copy_(jacobian)
        graph.replay()
        assert_close(found.cpu(), aggregator(jacobian.cpu()), scale=float(jacobian.norm()))
