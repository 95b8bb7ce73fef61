"""CAGrad against the conditions of optimality, an interior-point solver, and paper and pencil."""

import pytest
import torch

import jd_aggregators as jd
from jd_aggregators import _cagrad
from torchjd.testing import assert_close, tolerance
from torchjd.testing.matrices import gaussian, of_rank

from .random_problems import jacobian, least_weights

EXACT = tolerance(torch.float64)
RADII = (0.1, 0.5, 0.9, 1.0, 2.0)


def assert_optimal(J, c, weights):
    """Assert that no w of the simplex, nor any d in the ball, is better.

    The least objective over w is the greatest worst case over d: where both meet, both are optimal.
    """
    mean, d = J.mean(0), weights @ J
    radius, unit = float(c * mean.norm()), float(mean.norm() * J.norm(dim=1).max())
    assert float((d - mean).norm()) <= (1 + EXACT) * radius
    worst = float((J @ d).min())
    if float((d - mean).norm()) < (1 - EXACT) * radius:
        # Within the ball: a level of 0 is the most, and of all updates at it, the nearest is taken,
        # which is the projection onto the dual cone. These are its conditions.
        assert abs(worst) <= EXACT * unit
        assert bool((weights >= (1 - EXACT) / len(J)).all())
        assert abs(float(d @ (d - mean))) <= EXACT * float(mean @ mean)
        return
    w = weights - 1 / len(J)
    w = w / w.sum()
    assert float(w.min()) >= -EXACT
    objective = float((w @ J) @ mean + radius * (w @ J).norm())
    assert objective - worst <= EXACT * (abs(objective) + 1e-4 * unit)
    w = least_weights(J, radius, J @ mean)
    other = float((w @ J) @ mean + radius * (w @ J).norm())
    assert objective <= other + 1e-6 * abs(other) + EXACT * unit


@pytest.mark.parametrize("seed", range(200))
def test_random_problems(seed):
    J, c = jacobian(seed), RADII[seed % len(RADII)]
    assert_optimal(J, c, jd.CAGradWeighting(c)(J @ J.T))


@pytest.mark.parametrize("seed", range(60))
def test_random_problems_without_the_shortcut(seed, monkeypatch):
    monkeypatch.setattr(_cagrad, "numpy_solver", lambda: None)
    J, c = jacobian(seed), RADII[seed % len(RADII)]
    assert_optimal(J, c, jd.CAGradWeighting(c)(J @ J.T))


@pytest.mark.parametrize("m", [64, 150])
@pytest.mark.parametrize("rank", [20, 200])
def test_many_rows(m, rank):
    J = of_rank(m, 220, rank)
    assert_optimal(J, 0.5, jd.CAGradWeighting(0.5)(J @ J.T))


@pytest.mark.parametrize("m", [2, 8, 16])
@pytest.mark.parametrize("c", RADII)
def test_rows_that_hardly_conflict_gain_alike(m, c):
    J = gaussian(m, 4000, seed=m) * torch.linspace(1.0, 1.2, m)[:, None]
    weights = jd.CAGradWeighting(c)(J @ J.T)
    assert_optimal(J, c, weights)
    if c >= 0.5:  # enough to make up for the lengths
        gains = J @ (weights @ J)
        assert_close(gains, gains.mean().expand(m))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e30])
def test_short_gradients_are_treated_as_long_ones(scale):
    J = gaussian(4, 7)
    assert_close(jd.CAGrad(0.5)(scale * J), scale * jd.CAGrad(0.5)(J))


def test_no_radius_gives_the_mean():
    J = gaussian(5, 3)
    assert_close(jd.CAGrad(0.0)(J), J.mean(0))


def test_one_row_is_lengthened():
    assert_close(jd.CAGrad(0.4)(torch.tensor([[3.0, -1.0]])), 1.4 * torch.tensor([3.0, -1.0]))


def test_rows_that_are_alike_keep_the_direction_of_the_mean():
    # By symmetry; and the change has the length of the radius.
    J = 2.0 * torch.eye(4)
    assert_close(jd.CAGrad(0.5)(J), 1.5 * J.mean(0))


def test_two_rows_as_on_paper():
    # Mean (1, 1); the first row is the worse off. With w = (1, 0) the change is towards (-4, 1),
    # which leaves it at 4 * 4 / sqrt(17) ... less than the other: so both end at the same level,
    # d = (x, y) with 10 x = 0, on the circle about (1, 1) of radius 1.2 * sqrt(2).
    J = torch.tensor([[-4.0, 1.0], [6.0, 1.0]], dtype=torch.float64)
    y = 1.0 + (1.44 * 2.0 - 1.0) ** 0.5
    assert_close(jd.CAGrad(1.2)(J), torch.tensor([0.0, y], dtype=torch.float64), scale=y)


def test_opposite_rows_add_to_nothing():
    J = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    assert_close(jd.CAGrad(0.5)(J), torch.zeros(2), scale=1.0)


def test_what_opposite_rows_dispute_is_left_out():
    # Only what is orthogonal to the first two rows harms none of them.
    J = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    assert_close(jd.CAGrad(0.5)(J), torch.tensor([0.0, 1.0], dtype=torch.float64))


def test_a_row_of_zeros_has_no_say():
    # It gets 0 whatever the update is, and the mean does as well.
    J = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert_close(jd.CAGrad(0.5)(J), J.mean(0))


@pytest.mark.parametrize("seed", range(40))
def test_from_radius_one_on_no_row_conflicts(seed):
    J = jacobian(seed)
    d = jd.CAGrad(1.0 + seed % 2)(J)
    assert bool((J @ d >= -EXACT * J.norm(dim=1).max() * J.mean(0).norm()).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gramians_of_few_digits(dtype):
    J = gaussian(6, 40)
    G = (J @ J.T / 40).to(dtype)
    weights = jd.CAGradWeighting(0.5)(G)
    assert weights.dtype == torch.float32
    assert_close(weights.to(dtype), jd.CAGradWeighting(0.5)(G.double()))


def test_settings():
    aggregator = jd.CAGrad(0.5, norm_eps=1.0)
    J = gaussian(3, 5)
    assert torch.equal(aggregator(J), jd.CAGrad(0.5)(J))
    aggregator.c = 0.0
    assert aggregator.weighting.c == 0.0
    assert repr(jd.CAGrad(0.5)) == "CAGrad(c=0.5)"


@pytest.mark.parametrize("settings", [{"c": -0.1}, {"c": 0.5, "norm_eps": -1.0}])
def test_wrong_settings_are_refused(settings):
    name, value = list(settings.items())[-1]
    for method in (jd.CAGrad, jd.CAGradWeighting):
        with pytest.raises(
            ValueError, match=f"`{name}` must be finite and at least 0. Got {value}"
        ):
            method(**settings)
