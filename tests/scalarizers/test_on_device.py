"""A call on a GPU reads nothing on the host: traced with fake CUDA tensors, so anywhere.

Without gradients: a build without CUDA has no streams for them.
"""

import pytest
import torch
from torch import nn

from tests.fake_cuda import fake_cuda
from tests.scalarizers.test_conformance import TABLE, VARIANTS

M = 6
MAKERS = {name: make for name, make in (TABLE | VARIANTS).items() if make(M).traits.on_device}


def test_all_that_can_be_are_tried():
    assert set(MAKERS) == set(TABLE | VARIANTS)


def fake(scalarizer, device):
    """Replace the tensors of a scalarizer, which were checked when it was made, by fake ones."""
    for module in scalarizer.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = like(buffer, device)
        for name, parameter in module._parameters.items():
            module._parameters[name] = nn.Parameter(like(parameter, device))
    return scalarizer


def like(tensor, device):
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


@pytest.mark.parametrize("device", ["cuda", "cpu"], ids=["moved", "left on the host"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_a_call_reads_nothing_on_the_host(name, dtype, device):
    scalarizer = MAKERS[name](M)
    with fake_cuda(), torch.no_grad():
        scalarizer = fake(scalarizer, device)
        values = torch.empty(M, device="cuda", dtype=dtype)
        for _ in range(2):
            loss = scalarizer(values)
            assert loss.device.type == "cuda"
            assert loss.dtype == dtype
            if hasattr(scalarizer, "update"):
                scalarizer.update(values)


@pytest.mark.parametrize("device", ["cuda", "cpu"], ids=["moved", "left on the host"])
def test_dwa_reads_nothing_once_it_has_weights(device):
    scalarizer = TABLE["DWA"](M)
    values = torch.rand(M)
    for _ in range(2):
        scalarizer(values)
        scalarizer.step()
    with fake_cuda(), torch.no_grad():
        scalarizer = fake(scalarizer, device)
        for _ in range(2):
            loss = scalarizer(torch.empty(M, device="cuda"))
            assert loss.device.type == "cuda"
