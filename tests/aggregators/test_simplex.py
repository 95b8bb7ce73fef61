"""The projection onto the simplex: against a quadratic program, and by what characterises it."""

import cvxpy
import pytest
import torch

from jd_aggregators._simplex import project_on_device, project_on_simplex
from tests.fake_cuda import fake_cuda
from torchjd.testing import assert_close

from .values.histories import nearest_on_simplex

WAYS = [project_on_simplex, project_on_device]


def vectors(count, m, scale):
    draws = torch.Generator().manual_seed(m)
    return scale * torch.randn(count, m, generator=draws, dtype=torch.float64)


@pytest.mark.parametrize("project", WAYS)
@pytest.mark.parametrize("m", [1, 2, 5, 20])
def test_it_is_the_nearest_point(project, m):
    variable, target = cvxpy.Variable(m), cvxpy.Parameter(m)
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum_squares(variable - target)),
        [variable >= 0, cvxpy.sum(variable) == 1],
    )
    for v in torch.cat([vectors(25, m, 0.2), vectors(25, m, 3.0)]):
        target.value = v.numpy()
        problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
        expected = torch.from_numpy(variable.value)
        assert float((project(v) - expected).abs().max()) <= 1e-6


@pytest.mark.parametrize("project", WAYS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("m", [1, 3, 40, 200])
def test_it_is_what_bisection_finds(project, m, scale):
    for v in vectors(10, m, scale):
        found = project(v)
        assert_close(found, torch.tensor(nearest_on_simplex(v.tolist()), dtype=v.dtype), scale=1.0)
        assert_close(found.sum(), torch.ones(()))
        assert bool((found >= 0).all())


@pytest.mark.parametrize("project", WAYS)
@pytest.mark.parametrize("shift", [1e12, -1e12])
def test_a_shift_loses_nothing(project, shift):
    v = torch.tensor([0.5, 0.25, -3.0, 0.5], dtype=torch.float64)  # of which sums are exact
    assert_close(project(v + shift), project(v))
    far = torch.tensor([1e300, -1e300, 0.0], dtype=torch.float64)
    assert project(far).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("project", WAYS)
def test_points_of_the_simplex_stay(project):
    for v in vectors(20, 6, 1.0).softmax(dim=1):
        assert_close(project(v), v)
    assert project(torch.tensor([7.0, 7.0])).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("project", WAYS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_gives_nan(project, value):
    assert bool(project(torch.tensor([0.5, value, 0.1])).isnan().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ways_agree_and_keep_the_dtype(dtype):
    for v in vectors(50, 12, 0.3).to(dtype):
        assert project_on_simplex(v).dtype == project_on_device(v).dtype == dtype
        assert_close(project_on_simplex(v), project_on_device(v), scale=1.0)


def test_nothing_is_read_on_the_host():
    with fake_cuda():
        assert project_on_simplex(torch.empty(9, device="cuda")).device.type == "cuda"
