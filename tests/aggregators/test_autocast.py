"""Under autocast the methods compute as precisely as without."""

import pytest
import torch

import torchjd
from torchjd.autojac import jac_to_grad


@pytest.mark.parametrize("method", ["Mean", "Sum", "MoCo", "DBMTL", "ExcessMTL"])
def test_autocast_does_not_round_the_rows(method):
    rows = torch.tensor([[1.001, 2.003, -3.007], [0.503, -1.009, 4.011]])
    results = []
    for enabled in (False, True):
        aggregator = getattr(torchjd.aggregation, method)()
        x = torch.zeros(3, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for _ in range(2):
                x.grad, x.jac = None, rows.clone()
                jac_to_grad([x], aggregator, losses=torch.tensor([0.5, 2.0]))
            results.append((x.grad, aggregator(rows, losses=torch.tensor([0.5, 2.0]))))
    for found, expected in zip(*reversed(results), strict=True):
        assert torch.equal(found, expected)
