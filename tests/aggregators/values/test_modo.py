"""MoDo against the recursion of the paper, in Python's own numbers."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.linalg import cross_gramian
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

from .histories import (
    assert_compiled_agrees,
    cross_gramians,
    jacobians,
    nearest_on_simplex,
)


def recursion(gramians, gamma, rho):
    """Yield the weights of equation 2.9, entry by entry."""
    m = len(gramians[0])
    weights = [1 / m] * m
    for C in gramians:
        pulls = [sum(C[i][j] * weights[j] for j in range(m)) + rho * weights[i] for i in range(m)]
        weights = nearest_on_simplex([weights[i] - gamma * pulls[i] for i in range(m)])
        yield torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize("m", [1, 4, 9])
@pytest.mark.parametrize(("gamma", "rho"), [(0.1, 0.1), (0.01, 0.0), (1.0, 2.0)])
def test_the_recursion(m, gamma, rho):
    weighting, aggregator = jd.MoDoWeighting(gamma, rho), jd.MoDo(gamma, rho)
    gramians = cross_gramians(m)
    expected = recursion([C.tolist() for C in gramians], gamma, rho)
    for C, J, weights in zip(gramians, jacobians(m), expected, strict=True):
        assert_close(weighting(C), weights, scale=1.0)
        assert_close(aggregator(J, cross_gramian=C), weights @ J)


def test_a_step_by_hand():
    # From (1/2, 1/2): minus 0.1 times (3/2, 5/2) is (0.35, 0.25), and 0.2 is missing to 1.
    C = torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    assert_close(jd.MoDoWeighting(0.1, 0.0)(C), torch.tensor([0.55, 0.45]))


def test_its_rest_is_at_the_least_norm():
    rows = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    weighting = jd.MoDoWeighting(gamma=0.1, rho=0.0)
    for _ in range(200):
        weights = weighting(rows @ rows.T)
    assert_close(weights, torch.tensor([0.1, 0.9], dtype=torch.float64))


def test_two_batches_give_the_least_norm_of_the_expectation():
    # The noise of each batch is as large as the gradients, and larger in the second row: a Gramian
    # of one batch would take that for length.
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    loudness = torch.tensor([[0.0], [3.0]], dtype=torch.float64)
    noise = torch.Generator().manual_seed(0)

    def batch():
        return rows + loudness * torch.randn(2, 2, generator=noise, dtype=torch.float64)

    crossed, single = jd.MoDoWeighting(0.003, 0.0), jd.MoDoWeighting(0.003, 0.0)
    for _ in range(6000):
        first, second = batch(), batch()
        unbiased, biased = crossed(cross_gramian([first], [second])), single(first @ first.T)
    assert abs(float(unbiased[0]) - 0.5) < 0.2
    assert float(biased[0]) > 0.8


@pytest.mark.parametrize("method", [jd.MoDoWeighting, jd.SDMGradWeighting])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_leaves_no_trace(method, value):
    one, other = method(), method()
    broken = torch.eye(4, dtype=torch.float64)
    broken[2, 3] = value
    for C in cross_gramians():
        assert bool(one(broken).isnan().all())
        assert torch.equal(one(C), other(C))


def test_the_number_of_objectives_may_change_after_a_reset():
    aggregator = jd.MoDo()
    aggregator(gaussian(3, 4), cross_gramian=torch.eye(3))
    with pytest.raises(ValueError, match=r"shape \[3\], and now needs one of shape \[2\].*reset"):
        aggregator(gaussian(2, 4), cross_gramian=torch.eye(2))
    aggregator.reset()
    assert_close(aggregator(torch.eye(2), cross_gramian=torch.eye(2)), torch.full((2,), 0.5))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gamma": 0.0}, "`gamma` must be finite and greater than 0. Got 0.0"),
        ({"rho": -1.0}, "`rho` must be finite and at least 0. Got -1.0"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        jd.MoDo(**parameters)


def test_a_missing_gramian_is_named():
    with pytest.raises(TypeError, match="`cross_gramian` must be given: `MoDo"):
        jd.MoDo()(torch.eye(2))


@pytest.mark.parametrize("m", [2, 8, 20])
def test_it_compiles(m):
    assert_compiled_agrees(jd.MoDoWeighting(), cross_gramians(m)[0])


def test_settings_are_shown_and_set():
    aggregator = jd.MoDo(gamma=0.5)
    assert repr(aggregator) == "MoDo(gamma=0.5)"
    aggregator.rho = 0.0
    assert aggregator.weighting.rho == 0.0
