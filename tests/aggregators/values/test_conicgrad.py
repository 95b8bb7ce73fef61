"""ConicGrad against an interior-point solver, the conditions of optimality, and closed forms."""

import warnings
from math import sqrt

import cvxpy as cp
import pytest
import torch
from scipy.optimize import nnls

import jd_aggregators as jd
from jd_aggregators import _conicgrad
from torchjd.testing import assert_close, tolerance
from torchjd.testing.matrices import conflicting, gaussian, of_rank

from .random_problems import jacobian

EXACT = tolerance(torch.float64)
# What an interior-point solver is trusted to, relative to what is attained or to a hundredth of
# the longest row, where next to nothing is.
SOLVED = 1e-6
COSINES = (0.0, 0.2, 0.5, 0.9)


def double(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def direction(J, c):
    """Return u, the axis of the cone, and what the worst-off row gets from u."""
    mean = J.mean(0)
    length = mean.norm()
    u = jd.ConicGradWeighting(c)(J @ J.T) @ J / length
    return u, mean / length, float((J @ u).min())


def best_worst_case(J, c):
    """Return the most that the worst-off row can get, by cvxpy, in the span of the rows."""
    longest = J.norm(dim=1).max()
    basis = torch.linalg.qr(J.T).Q
    rows = J @ basis / longest
    axis = rows.mean(0) / rows.mean(0).norm()
    u, worst = cp.Variable(rows.shape[1]), cp.Variable()
    constraints = [rows.numpy() @ u >= worst, cp.norm(u) <= 1.0, axis.numpy() @ u >= c]
    problem = cp.Problem(cp.Maximize(worst), constraints)
    with warnings.catch_warnings():
        # That of a solution which may be inaccurate: so is then the comparison.
        warnings.simplefilter("ignore")
        problem.solve(solver=cp.CLARABEL)
    return float(worst.value) * float(longest)


def assert_feasible(u, axis, c):
    assert float(u.norm()) <= 1.0 + EXACT
    assert float(axis @ u) >= c - EXACT


@pytest.mark.parametrize("seed", range(200))
def test_random_problems(seed):
    J, c = jacobian(seed), COSINES[seed // 3 % len(COSINES)]
    u, axis, worst = direction(J, c)
    assert_feasible(u, axis, c)
    best = best_worst_case(J, c)
    assert worst == pytest.approx(best, rel=SOLVED, abs=SOLVED * 1e-2 * float(J.norm(dim=1).max()))


@pytest.mark.parametrize("c", COSINES)
@pytest.mark.parametrize("seed", range(100))
def test_it_is_the_shortest_of_the_best(seed, c):
    # A u of length 1 is the best one, and any is the shortest at its level, if it is a sum of
    # multiples, at least 0, of what bounds it: the rows that are worst off, and of the axis where
    # the angle is as large as it may be.
    J = jacobian(seed)
    u, axis, worst = direction(J, c)
    assert_feasible(u, axis, c)
    longest = float(J.norm(dim=1).max())
    bounds = J[(J @ u <= worst + EXACT * longest) & (J.norm(dim=1) > 0.0)]
    bounds = bounds / bounds.norm(dim=1, keepdim=True)
    if float(axis @ u) <= c + EXACT:
        bounds = torch.cat([bounds, axis[None]])
    if worst > EXACT * longest:  # what is short could be lengthened
        assert float(u.norm()) == pytest.approx(1.0, abs=EXACT)
    # Where only rows of zeros bound it, nothing but 0 is the shortest.
    left = nnls(bounds.T.numpy(), u.numpy())[1] if len(bounds) else float(u.norm())
    assert left <= SOLVED


@pytest.mark.parametrize("rank", [20, 200])
def test_many_rows(rank):
    J = of_rank(150, 220, rank)
    u, axis, worst = direction(J, 0.5)
    assert_feasible(u, axis, 0.5)
    assert worst == pytest.approx(best_worst_case(J, 0.5), rel=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e30])
def test_short_gradients_are_treated_as_long_ones(scale):
    J = gaussian(4, 7)
    assert_close(jd.ConicGrad(0.9)(scale * J), scale * jd.ConicGrad(0.9)(J))


@pytest.mark.parametrize("c", [*COSINES, 0.999, 1 - 1e-9, 1 - 1e-16])
@pytest.mark.parametrize("make", [gaussian, conflicting, lambda m, n: of_rank(m, n, 3)])
def test_any_angle_is_kept(make, c):
    J = make(8, 20)
    u, axis, _ = direction(J, c)
    assert float(axis @ u) >= c - 1e-6
    assert float(u.norm()) <= 1.0 + 1e-6


@pytest.mark.parametrize("seed", range(40))
def test_a_cosine_of_1_gives_the_mean(seed):
    J = jacobian(seed)
    assert_close(jd.ConicGrad(1.0)(J), J.mean(0), scale=float(J.norm()))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("c", [0.0, 0.2])
def test_where_it_is_in_the_cone_the_direction_is_that_of_mgda(seed, c):
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(2 + seed % 6, 20, generator=generator, dtype=torch.float64) + 0.5
    shortest, mean = jd.MGDA()(J), J.mean(0)
    assert float(shortest @ mean) > c * float(shortest.norm() * mean.norm())
    assert_close(jd.ConicGrad(c)(J), shortest * (mean.norm() / shortest.norm()))


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.0, 1.0), (1.0, 3.0)])
def test_two_orthogonal_rows_in_a_wide_cone_get_the_same(a, b):
    # u = (x, y) with a x = b y; its cosine with the mean (a, b) / 2 is 2 a b / (a^2 + b^2) >= 0.6.
    J = double([a, 0.0], [0.0, b])
    u = double(b, a) / sqrt(a**2 + b**2)
    assert_close(jd.ConicGrad(0.55)(J), u * J.mean(0).norm())


@pytest.mark.parametrize(("a", "b"), [(4.0, 1.0), (10.0, 3.0)])
def test_two_orthogonal_rows_in_a_narrow_cone_end_at_its_boundary(a, b):
    # The mean, turned towards the shorter row by the angle of the cone.
    c, s = 0.9, sqrt(1.0 - 0.81)
    expected = double(c * a - s * b, s * a + c * b) / 2.0
    assert_close(jd.ConicGrad(c)(double([a, 0.0], [0.0, b])), expected)


@pytest.mark.parametrize("c", COSINES)
def test_of_opposite_rows_the_longer_one_goes_on(c):
    # Each u > 0 harms the second row, so that u is the least that the cone allows.
    assert_close(jd.ConicGrad(c)(double([3.0], [-1.0])), double(c), scale=1.0)


@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_what_opposite_rows_dispute_is_left_out(c):
    # Mean (1/3, 1), of squared length 10/9. Each (0, y) leaves the worst off at 0, which is the
    # most; the least y for which the product with the mean is c times its square is 10/9 c.
    J = double([3.0, 0.0], [-3.0, 0.0], [1.0, 3.0])
    assert_close(jd.ConicGrad(c)(J), double(0.0, 10.0 / 9.0 * c))


@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_a_corner_that_harms_is_met_by_the_shortest_update(c):
    # The first row gets at least -c whatever the update, and the others more than that for each
    # (c, y) with a small y, in units of the mean, (5/3, 0): so y = 0.
    J = double([-1.0, 0.0], [3.0, 1.0], [3.0, -1.0])
    assert_close(jd.ConicGrad(c)(J), double(5.0 / 3.0 * c, 0.0), scale=1.0)


@pytest.mark.parametrize("c", [0.2, 0.9])
def test_a_row_of_zeros_leaves_the_shortest_update_that_harms_none(c):
    # It gets 0 whatever the update is. Of those that leave the others no less than that, the one
    # along the mean is the shortest.
    assert_close(jd.ConicGrad(c)(double([0.0, 0.0], [1.0, 2.0])), c * double(0.5, 1.0))


def test_duplicates_share_what_one_of_them_has():
    # The mean counts a row as often as it is there; the worst case does not.
    u = jd.ConicGrad(0.5)(double([1.0, 0.0], [1.0, 0.0], [0.0, 1.0]))
    assert_close(u, double(1.0, 1.0) * sqrt(5.0 / 18.0))


@pytest.mark.parametrize("seed", range(7, 70, 7))
def test_it_does_not_matter_how_equal_rows_share_their_weight(seed, monkeypatch):
    J = jacobian(seed).repeat(2, 1)
    expected = jd.ConicGrad(0.5)(J)

    def shared(G, solve=_conicgrad._least_norm):
        return solve(G).view(2, -1).mean(0).repeat(2)

    monkeypatch.setattr(_conicgrad, "_least_norm", shared)
    assert_close(jd.ConicGrad(0.5)(J), expected, scale=float(J.norm(dim=1).max()))


@pytest.mark.parametrize("seed", [91, 143, 182])
@pytest.mark.parametrize("c", COSINES)
def test_the_order_of_rows_does_not_matter_where_some_are_zero(seed, c):
    # Where the least that is attained is 0, there are many best ones.
    J = jacobian(seed)
    order = torch.randperm(len(J), generator=torch.Generator().manual_seed(seed))
    expected = jd.ConicGrad(c)(J)
    assert_close(jd.ConicGrad(c)(J[order]), expected, scale=float(J.norm(dim=1).max()))


@pytest.mark.parametrize("m", [1, 3])
def test_rows_that_are_all_the_same_are_kept(m):
    J = double([3.0, -1.0]).repeat(m, 1)
    assert_close(jd.ConicGrad(0.5)(J), J[0])


def test_opposite_rows_add_to_nothing():
    J = double([1.0, 2.0], [-1.0, -2.0])
    assert_close(jd.ConicGrad(0.5)(J), torch.zeros(2), scale=1.0)


def test_a_mean_that_is_rounding_is_none():
    J = double([0.1, 0.7], [0.2, 0.1], [-0.3, -0.8])
    assert bool(J.mean(0).any())
    assert not bool(jd.ConicGrad(0.5)(J).any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gramians_of_few_digits(dtype):
    J = gaussian(6, 40)
    G = (J @ J.T / 40).to(dtype)
    weights = jd.ConicGradWeighting(0.5)(G)
    assert weights.dtype == torch.float32
    assert_close(weights.to(dtype), jd.ConicGradWeighting(0.5)(G.double()))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_gives_nan(bad):
    G = torch.eye(3)
    G[0, 1] = G[1, 0] = bad
    assert bool(jd.ConicGradWeighting()(G).isnan().all())


def test_settings():
    aggregator = jd.ConicGrad(0.25)
    assert repr(aggregator) == "ConicGrad(c=0.25)"
    assert jd.ConicGrad().c == 0.5
    aggregator.c = 1.0
    assert aggregator.weighting.c == 1.0


@pytest.mark.parametrize("c", [-0.1, 1.1])
def test_wrong_settings_are_refused(c):
    for method in (jd.ConicGrad, jd.ConicGradWeighting):
        with pytest.raises(
            ValueError, match=f"`c` must be finite and at least 0 and at most 1. Got {c}"
        ):
            method(c)
