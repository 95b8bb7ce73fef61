"""FairGrad against its equation, an interior-point solver, and paper and pencil."""

import math

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

from .bargains import assert_shared, solvable

ALPHAS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)


def weights(J, alpha):
    return jd.FairGradWeighting(alpha)(J @ J.T)


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_random_problems(seed, alpha):
    J = solvable(seed)
    assert_shared(J, weights(J, alpha), alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_of_orthogonal_rows_each_has_its_power(alpha):
    lengths = torch.logspace(-3, 3, 6, dtype=torch.float64)
    J = lengths[:, None] * torch.linalg.qr(gaussian(8, 6)).Q.T
    # s^2 w = w^(-1/alpha)
    assert_close(weights(J, alpha) * lengths ** (2 * alpha / (1 + alpha)), torch.ones(6))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("angle", [0.0, 60.0, 150.0, 179.0])
def test_two_rows_of_one_length_meet_in_the_middle(alpha, angle):
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    J = 3.0 * torch.tensor([[1.0, 0.0], [cosine, sine]], dtype=torch.float64)
    # 9 (1 + cosine) w = w^(-1/alpha), for both
    w = (9.0 * (1.0 + cosine)) ** (-alpha / (1.0 + alpha))
    assert_close(weights(J, alpha), torch.full((2,), w, dtype=torch.float64))


def test_one_is_a_nash_bargain():
    for seed in range(20):
        J = solvable(seed)
        assert torch.equal(weights(J, 1.0), jd.NashMTLWeighting(len(J), max_norm=0.0)(J @ J.T))


def test_towards_zero_it_is_the_sum_of_the_rows():
    J = solvable(9)
    J = J / J.norm(dim=1, keepdim=True) + J.mean(0) / J.mean(0).norm()  # all acute angles
    error = (jd.FairGrad(0.05)(J) - J.sum(0)).norm() / J.sum(0).norm()
    assert float(error) < 0.2
    assert float((jd.FairGrad(0.1)(J) - J.sum(0)).norm() / J.sum(0).norm()) > float(error)


def test_the_fairer_the_less_lags_the_row_that_progresses_least():
    J = solvable(20)
    shares = []
    for alpha in ALPHAS:
        d = jd.FairGrad(alpha)(J)
        shares.append(float((J @ d).min() / d.norm()))
    assert shares == sorted(shares)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("power", [-300, -100, 10, 300])
def test_the_scale_has_the_power_that_it_says(alpha, power):
    aggregator, J = jd.FairGrad(alpha), gaussian(6, 8)
    degree = (1.0 - alpha) / (1.0 + alpha)
    assert aggregator.degree == pytest.approx(degree)
    scaled = aggregator(2.0**power * J)
    assert_close(scaled * 2.0 ** (-power * degree), aggregator(J))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_order_of_the_rows_does_not_count(alpha):
    J, order = solvable(12), torch.randperm(14, generator=torch.Generator().manual_seed(0))
    assert_close(weights(J[order], alpha), weights(J, alpha)[order])


@pytest.mark.parametrize("alpha", ALPHAS)
def test_rows_of_zeros_have_no_say(alpha):
    J = gaussian(3, 5)
    padded = torch.zeros(5, 5, dtype=torch.float64)
    padded[1:4] = J
    found = weights(padded, alpha)
    assert_close(found[1:4], weights(J, alpha))
    assert found[0] == found[4] == 0.0


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_at_a_pareto_stationary_point_nothing_moves(alpha, scale):
    for J in (torch.tensor([[1.0, 2.0], [-3.0, -6.0]]), gaussian(30, 3), torch.zeros(3, 2)):
        assert bool((jd.FairGrad(alpha)(scale * J) == 0).all())


def test_steps_may_be_limited():
    J = solvable(30)
    whole = jd.FairGrad(2.0)
    errors = [(jd.FairGrad(2.0, n)(J) - whole(J)).norm() / whole(J).norm() for n in (1, 3, 50)]
    assert errors[0] > errors[1] > 1e-6
    assert errors[2] == 0.0
    whole.max_iters = 1
    assert torch.equal(whole(J), jd.FairGrad(2.0, max_iters=1)(J))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"alpha": 0.0}, ValueError, r"`alpha` must be finite and greater than 0\. Got 0"),
        ({"alpha": -1.0}, ValueError, r"`alpha` must be finite and greater than 0\. Got -1"),
        ({"alpha": "fair"}, TypeError, "`alpha` must be a number"),
        ({"alpha": 1.0, "max_iters": 0}, ValueError, r"`max_iters` must be at least 1\. Got 0"),
        ({"alpha": 1.0, "max_iters": 2.5}, TypeError, "`max_iters` must be an int"),
    ],
)
def test_settings_are_checked(settings, error, message):
    with pytest.raises(error, match=message):
        jd.FairGrad(**settings)
