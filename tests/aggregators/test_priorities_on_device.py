"""Steps of the methods with priorities read nothing on the host: traced with fake tensors."""

import pytest
import torch

from jd_aggregators import PCD, Lexicographic
from tests.fake_cuda import fake_cuda
from torchjd.autojac import jac_to_grad

STEPS = {
    "PCD": lambda m: PCD(),
    "Lexicographic": lambda m: Lexicographic(),
    "Lexicographic, two levels": lambda m: Lexicographic([[m - 1], [*range(m - 1)]]),
}


@pytest.mark.parametrize("m", [2, 12])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_reads_nothing_on_the_host(step, m):
    with fake_cuda():
        aggregator = STEPS[step](m)
        param = torch.nn.Parameter(torch.empty(4, 3, device="cuda"))
        for _ in range(2):
            param.jac = torch.empty(m, 4, 3, device="cuda")
            jac_to_grad([param], aggregator)
        assert param.grad.device.type == "cuda"
