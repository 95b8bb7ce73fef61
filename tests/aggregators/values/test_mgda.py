"""MGDA against the conditions of optimality, an interior-point solver, and paper and pencil."""

import pytest
import torch

import jd_aggregators as jd
from jd_aggregators import _min_norm
from torchjd.testing import assert_close, tolerance
from torchjd.testing.matrices import gaussian

from .random_problems import jacobian, least_weights

EXACT = tolerance(torch.float64)


def assert_shortest(J, d):
    """Assert Wolfe's condition: every row is as far along d as d itself."""
    lengths = J.norm(dim=1)
    assert bool((J @ d >= d @ d - EXACT * lengths * lengths.min()).all())


@pytest.mark.parametrize("seed", range(200))
def test_random_problems(seed):
    J = jacobian(seed)
    weights = jd.MGDAWeighting()(J @ J.T)
    assert bool((weights >= 0).all())
    assert_close(weights.sum(), torch.ones(()))
    d = jd.MGDA()(J)
    assert_shortest(J, d)
    shortest = least_weights(J, 1.0, torch.zeros(len(J), dtype=torch.float64)) @ J
    # From a Gramian, a length that is zero is known to half of the digits.
    rounding = torch.finfo(torch.float64).eps ** 0.5 * J.norm(dim=1).max()
    assert float(d.norm()) <= (1 + 1e-6) * float(shortest.norm()) + rounding


def test_two_rows():
    # The foot of the perpendicular, where it is between them; else the shorter row.
    assert_close(jd.MGDA()(torch.tensor([[3.0, 0.0], [0.0, 1.0]])), torch.tensor([0.3, 0.9]))
    assert_close(jd.MGDA()(torch.tensor([[1.0, 2.0], [2.0, 5.0]])), torch.tensor([1.0, 2.0]))
    assert_close(jd.MGDA()(torch.tensor([[2.0, 5.0], [1.0, 2.0]])), torch.tensor([1.0, 2.0]))


def test_the_shortest_row_where_the_others_are_behind_it():
    J = torch.tensor([[4.0, 3.0, 0.0], [1.0, 1.0, 0.0], [2.0, 0.5, 9.0], [1.0, 2.0, -5.0]])
    assert jd.MGDA()(J).tolist() == [1.0, 1.0, 0.0]
    assert jd.MGDAWeighting()(J @ J.T).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_orthogonal_rows_are_weighted_by_their_inverse_squares():
    lengths = torch.tensor([0.5, 1.0, 2.0, 10.0], dtype=torch.float64)
    expected = lengths**-2 / (lengths**-2).sum()
    assert_close(jd.MGDAWeighting()(torch.diag(lengths**2)), expected)


@pytest.mark.parametrize("m", [1, 2, 3, 7])
def test_equal_rows_give_that_row(m):
    row = gaussian(1, 5)
    assert_close(jd.MGDA()(row.expand(m, 5)), row[0])


@pytest.mark.parametrize("m", [3, 12])
def test_without_numpy(m, monkeypatch):
    J = gaussian(m, 2 * m) + 1.0
    expected = jd.MGDA()(J)
    monkeypatch.setattr(_min_norm, "_solver_for_few_rows", lambda: None)
    assert_close(jd.MGDA()(J), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("m", [2, 6])
def test_gramians_of_few_digits(m, dtype):
    J = gaussian(m, 40)
    G = (J @ J.T / 40).to(dtype)
    weights = jd.MGDAWeighting()(G)
    assert weights.dtype == torch.float32
    assert_close(weights.to(dtype), jd.MGDAWeighting()(G.double()), scale=1.0)


def test_the_settings_have_no_effect():
    J = gaussian(5, 8)
    assert torch.equal(jd.MGDA(epsilon=0.5, max_iters=1)(J), jd.MGDA()(J))
    assert repr(jd.MGDA(max_iters=7)) == "MGDA(max_iters=7)"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epsilon": -1.0}, ValueError, "`epsilon` must be finite and at least 0. Got -1.0"),
        ({"max_iters": 0}, ValueError, "`max_iters` must be at least 1. Got 0"),
        ({"max_iters": 1.5}, TypeError, "`max_iters` must be an int. Got float"),
    ],
)
def test_wrong_settings_are_refused(settings, error, message):
    for method in (jd.MGDA, jd.MGDAWeighting):
        with pytest.raises(error, match=message):
            method(**settings)
