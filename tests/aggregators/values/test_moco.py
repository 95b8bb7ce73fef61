"""MoCo against the algorithm of the paper, in Python's own numbers."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

from .histories import assert_compiled_agrees, jacobians, nearest_on_simplex


def algorithm(matrices, beta, gamma, rho, beta_sigma, gamma_sigma):
    """Yield the directions, entry by entry."""
    m, n = matrices[0].shape
    tracked, weights = [[0.0] * n for _ in range(m)], [1 / m] * m
    for k, J in enumerate(matrices, start=1):
        rows = J.tolist()
        step, weight_step = beta / k**beta_sigma, gamma / k**gamma_sigma
        for i in range(m):
            for j in range(n):
                tracked[i][j] -= step * (tracked[i][j] - rows[i][j])
        pulls = []
        for i in range(m):
            products = [sum(a * b for a, b in zip(tracked[i], y, strict=True)) for y in tracked]
            pull = sum(products[j] * weights[j] for j in range(m)) + rho * weights[i]
            pulls.append(weights[i] - weight_step * pull)
        weights = nearest_on_simplex(pulls)
        direction = [sum(weights[i] * tracked[i][j] for i in range(m)) for j in range(n)]
        yield torch.tensor(direction, dtype=torch.float64)


@pytest.mark.parametrize("m", [1, 4, 9])
@pytest.mark.parametrize(
    "parameters",
    [
        {"beta": 0.5, "gamma": 0.1, "rho": 0.0, "beta_sigma": 0.5, "gamma_sigma": 0.5},
        {"beta": 0.9, "gamma": 0.5, "rho": 0.3, "beta_sigma": 0.0, "gamma_sigma": 0.0},
        {"beta": 1.0, "gamma": 0.01, "rho": 2.0, "beta_sigma": 0.25, "gamma_sigma": 1.0},
    ],
)
def test_the_algorithm(m, parameters):
    aggregator = jd.MoCo(**parameters)
    matrices = jacobians(m)
    for J, direction in zip(matrices, algorithm(matrices, **parameters), strict=True):
        assert_close(aggregator(J), direction, scale=float(J.norm()))


def test_the_defaults_are_those_of_the_paper_s_experiments():
    aggregator = jd.MoCo()
    assert (aggregator.beta, aggregator.gamma, aggregator.rho) == (0.5, 0.1, 0.0)
    assert (aggregator.beta_sigma, aggregator.gamma_sigma) == (0.5, 0.5)


def test_a_step_by_hand():
    # Y is half of J, Y Y^T is diag(4, 1), and from (1/2, 1/2) goes 0.2 times (2, 1/2).
    J = torch.tensor([[4.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    weights = torch.tensor([0.1 + 0.25, 0.4 + 0.25], dtype=torch.float64)
    assert_close(jd.MoCo(beta=0.5, gamma=0.2)(J), weights @ (J / 2))


def test_the_same_gradients_lead_to_their_least_norm():
    J = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    aggregator = jd.MoCo(beta=0.5, gamma=0.1, beta_sigma=0.0, gamma_sigma=0.0)
    for _ in range(300):
        direction = aggregator(J)
    assert_close(direction, torch.tensor([0.3, 0.9], dtype=torch.float64))


def test_noise_is_averaged_out():
    rows, draws = gaussian(3, 20), torch.Generator().manual_seed(0)
    exact, noisy = (jd.MoCo(0.01, 0.001, beta_sigma=0.0, gamma_sigma=0.0) for _ in range(2))
    for _ in range(1500):
        noise = torch.randn(3, 20, generator=draws, dtype=torch.float64)
        expected, found = exact(rows), noisy(rows + noise)
    assert float((found - expected).norm()) < 0.3 * float(expected.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_whose_squares_overflow_are_weighed_and_leave_sound_weights(dtype):
    J = torch.tensor([[1e25, 0.0], [0.0, 1e30]], dtype=dtype)
    aggregator = jd.MoCo(beta=1.0, gamma=0.1, beta_sigma=0.0, gamma_sigma=0.0)
    assert_close(aggregator(J), J[0])  # from (1/2, 1/2), the longer row loses all its weight
    # From (1, 0) goes 0.1 times (1, 0), half of which the projection gives back to each.
    assert_close(aggregator(torch.eye(2, dtype=dtype)), torch.tensor([0.95, 0.05]))


def test_what_is_beyond_float64_leaves_no_trace():
    one, other = jd.MoCo(), jd.MoCo()
    assert bool(one(1e200 * gaussian(4, 6)).isnan().all())
    assert torch.equal(one(gaussian(4, 6)), other(gaussian(4, 6)))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_leaves_no_trace(value):
    one, other = jd.MoCo(), jd.MoCo()
    broken = gaussian(4, 6)
    broken[2, 3] = value
    for J in jacobians()[:5]:
        assert bool(one(broken).isnan().all())
        assert torch.equal(one(J), other(J))


def test_half_precision_is_averaged_in_single():
    aggregator = jd.MoCo(beta=1e-4, beta_sigma=0.0)
    J = torch.full((1, 3), 2.0, dtype=torch.bfloat16)
    for _ in range(2000):
        direction = aggregator(J)
    assert direction.dtype == torch.bfloat16
    expected = torch.full((3,), 2.0 * (1 - (1 - 1e-4) ** 2000))
    assert_close(direction, expected)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beta": 0.0}, "`beta` must be finite and greater than 0 and at most 1. Got 0.0"),
        ({"beta": 1.5}, "`beta` must be finite and greater than 0 and at most 1. Got 1.5"),
        ({"gamma": -1.0}, "`gamma` must be finite and greater than 0. Got -1.0"),
        ({"rho": -1.0}, "`rho` must be finite and at least 0. Got -1.0"),
        ({"beta_sigma": -1.0}, "`beta_sigma` must be finite and at least 0. Got -1.0"),
        ({"gamma_sigma": -1.0}, "`gamma_sigma` must be finite and at least 0. Got -1.0"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        jd.MoCo(**parameters)


def test_other_parameters_need_a_reset():
    aggregator = jd.MoCo()
    aggregator(gaussian(2, 5))
    with pytest.raises(ValueError, match=r"shape \[2, 5\], and now needs one of shape \[3, 5\]"):
        aggregator(gaussian(3, 5))
    aggregator.reset()
    aggregator(gaussian(3, 5))


@pytest.mark.parametrize("m", [2, 8, 20])
def test_it_compiles(m):
    assert_compiled_agrees(jd.MoCo(gamma=0.01), gaussian(m, 7))
