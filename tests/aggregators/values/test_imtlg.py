"""IMTLG: equal projections, the pseudoinverse for dependent rows, and the authors' own form."""

import pytest
import torch

from jd_aggregators import IMTLG, IMTLGWeighting
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian, of_rank, opposite, with_duplicates, with_row_scales

EPS = torch.finfo(torch.float64).eps


def by_pseudoinverse(J):
    lengths = J.norm(dim=1)
    v = torch.linalg.pinv(J @ J.T, rtol=1e-12, hermitian=True) @ lengths
    return v / v.sum()


def by_differences(J):
    """Return the weights by the closed form of the paper, from differences of the rows."""
    units = J / J.norm(dim=1, keepdim=True)
    D, U = J[0] - J[1:], units[0] - units[1:]
    rest = J[0] @ U.T @ torch.linalg.inv(D @ U.T)
    return torch.cat([1.0 - rest.sum()[None], rest])


def condition(J):
    """Return how much of rounding is magnified: by the angles, and by what the sum loses."""
    units = J / J.norm(dim=1, keepdim=True)
    v = torch.linalg.solve(J @ J.T, J.norm(dim=1))
    return float(torch.linalg.cond(units) ** 2 * v.abs().sum() / v.sum().abs())


@pytest.mark.parametrize("seed", range(200))
def test_projections_are_equal(seed):
    m = 1 + seed % 14
    J = gaussian(m, 2 * m + 3, seed)
    weights = IMTLGWeighting()(J @ J.T)
    update = IMTLG()(J)
    projections = J @ update / J.norm(dim=1)
    size = weights.abs().sum() * J.norm(dim=1).max()
    assert_close(projections, projections.mean().expand(m), scale=size)
    assert_close(weights.sum(), torch.ones((), dtype=torch.float64))
    assert_close(weights, by_pseudoinverse(J), scale=weights.abs().max())
    if m > 1:
        assert_close(weights, by_differences(J), scale=weights.abs().max())


@pytest.mark.parametrize("m", [2, 5, 8, 9, 20])
@pytest.mark.parametrize("exponent", [2.0, 4.0, 8.0])
def test_rows_of_any_lengths(m, exponent):
    J = with_row_scales(m, 2 * m, exponent)
    projections = J @ IMTLG()(J) / J.norm(dim=1)
    assert_close(projections, projections[0].expand(m), scale=1e-4 * J.norm(dim=1).max())
    units = J / J.norm(dim=1, keepdim=True)
    v = torch.linalg.pinv(units) @ torch.ones(m, dtype=torch.float64)
    # The sum of the weights, in terms of the direction whose projections are all 1.
    sizes = torch.linalg.solve(units @ units.T, torch.ones(m, dtype=torch.float64)) / J.norm(dim=1)
    assert_close(IMTLG()(J), v / sizes.sum(), scale=v.norm() / sizes.sum().abs())


@pytest.mark.parametrize("seed", range(60))
def test_dependent_rows(seed):
    m = 3 + seed % 9
    J = of_rank(m, 2 * m, max(2, m // 2), seed) if seed % 2 else with_duplicates(m, m + 3, seed)
    expected = by_pseudoinverse(J)
    assert_close(IMTLGWeighting()(J @ J.T), expected, scale=1e3 * expected.abs().max())


@pytest.mark.parametrize("m", [2, 4, 10])
def test_opposite_rows_give_zero(m):
    assert bool((IMTLG()(opposite(m, 5, 0.0)) == 0).all())


def test_weights_of_sum_zero_give_zero():
    J = torch.tensor([[1.0], [2.0], [-3.0]])
    assert bool((IMTLG()(J) == 0).all())


@pytest.mark.parametrize("m", [2, 9])
def test_rows_of_zeros_are_left_out(m):
    J = torch.zeros(2 * m, 30, dtype=torch.float64)
    J[::2] = gaussian(m, 30)
    weights = IMTLGWeighting()(J @ J.T)
    assert bool((weights[1::2] == 0).all())
    assert_close(weights[::2], by_pseudoinverse(J[::2]))


def test_two_rows():
    # Both projections are 12/5: the foot of the perpendicular on the line through the points.
    assert_close(IMTLG()(torch.diag(torch.tensor([3.0, 4.0]))), torch.full((2,), 12 / 7))


@pytest.mark.parametrize("m", [1, 4, 12])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_traced_code_agrees(m, dtype):
    weighting = IMTLGWeighting()
    torch.compiler.reset()
    traced = torch.compile(weighting, fullgraph=True, backend="eager")
    for J in (gaussian(m, 20), of_rank(m, 20, max(1, m // 2))):
        gramian = (J @ J.T).to(dtype)
        expected = weighting(gramian)
        assert expected.dtype == dtype
        assert_close(traced(gramian), expected)
