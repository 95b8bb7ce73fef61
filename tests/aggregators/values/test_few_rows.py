"""Plain floats, numpy and torch solve the same systems alike."""

import pytest
import torch

from jd_aggregators import (
    ConFIGWeighting,
    GradOPSWeighting,
    IMTLGWeighting,
    _arithmetic,
    _config,
    _imtlg,
)
from jd_aggregators._few_rows import solve_few
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian, of_rank, with_duplicates, with_row_scales

EACH = [IMTLGWeighting, ConFIGWeighting, GradOPSWeighting]


@pytest.mark.parametrize("m", range(1, 9))
def test_cosines_are_inverted(m):
    J = with_row_scales(m, m + 4, 6.0, seed=m)
    b = torch.linspace(-1.0, 1.0, m, dtype=torch.float64)
    y, lengths = solve_few(J @ J.T, b)
    units = J / J.norm(dim=1, keepdim=True)
    expected = torch.linalg.solve(units @ units.T, b)
    assert_close(torch.tensor(y, dtype=torch.float64), expected)
    assert_close(torch.tensor(lengths, dtype=torch.float64), J.norm(dim=1))


@pytest.mark.parametrize(
    "gramian",
    [
        torch.eye(9),
        torch.zeros(3, 3),
        torch.diag(torch.tensor([1.0, 0.0])),
        torch.diag(torch.tensor([1.0, torch.inf])),
        torch.tensor([[1.0, torch.nan], [torch.nan, 1.0]]),
        torch.tensor([[1.0, torch.inf], [torch.inf, 1.0]]),
        torch.ones(2, 2),
        torch.tensor([[1.0, 1.0 - 1e-9], [1.0 - 1e-9, 1.0]], dtype=torch.float64),
    ],
    ids=["many", "zeros", "a zero row", "inf", "nan", "inf aside", "equal", "nearly equal"],
)
def test_what_is_left_to_others(gramian):
    assert solve_few(gramian) is None


@pytest.mark.parametrize("make", EACH)
@pytest.mark.parametrize("m", [1, 2, 5, 8, 11])
def test_all_ways_agree(m, make, monkeypatch):
    problems = [gaussian(m, 2 * m), of_rank(m, 9, max(1, m // 2)), with_duplicates(m, 20)]
    gramians = [J @ J.T for J in problems] + [torch.zeros(m, m, dtype=torch.float64)]
    expected = [make()(gramian) for gramian in gramians]
    for module in (_imtlg, _config):
        monkeypatch.setattr(module, "solve_few", lambda *given: None)
    by_numpy = [make()(gramian) for gramian in gramians]
    monkeypatch.setattr(_arithmetic, "numpy_module", lambda: None)
    by_torch = [make()(gramian) for gramian in gramians]
    for found in (by_numpy, by_torch):
        for weights, other in zip(found, expected, strict=True):
            assert_close(weights, other, scale=1.0 + 10 * other.abs().max())
