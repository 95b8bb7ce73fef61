"""SDMGrad against its algorithm in Python's own numbers, and against the problem it solves."""

import cvxpy
import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

from .histories import (
    assert_compiled_agrees,
    cross_gramians,
    jacobians,
    nearest_on_simplex,
)

PREFERENCE = torch.tensor([0.1, 0.2, 0.3, 1.0], dtype=torch.float64)


def algorithm(gramians, lr, momentum, n_iter, lambda_, preference):
    """Yield the weights, entry by entry."""
    m = len(preference)
    w = [1 / m] * m
    for C in gramians:
        scale = sum(max(C[i][i], 0.0) ** 0.5 for i in range(m)) / m
        v = [0.0] * m
        for _ in range(n_iter):
            aim = [w[j] + lambda_ * preference[j] for j in range(m)]
            slope = [sum(C[i][j] * aim[j] for j in range(m)) / scale**2 for i in range(m)]
            v = [momentum * v[i] + slope[i] for i in range(m)]
            w = nearest_on_simplex([w[i] - lr * v[i] for i in range(m)])
        weights = [(w[i] + lambda_ * preference[i]) / (1 + lambda_) for i in range(m)]
        yield torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize(
    "parameters",
    [
        {"lr": 0.5, "momentum": 0.5, "n_iter": 20, "lambda_": 0.3},
        {"lr": 0.1, "momentum": 0.0, "n_iter": 1, "lambda_": 0.0},
        {"lr": 0.3, "momentum": 0.9, "n_iter": 3, "lambda_": 2.0},
    ],
)
@pytest.mark.parametrize("preference", [None, PREFERENCE])
def test_the_algorithm(parameters, preference):
    weighting = jd.SDMGradWeighting(**parameters, pref_vector=preference)
    aggregator = jd.SDMGrad(**parameters, pref_vector=preference)
    gramians = cross_gramians()
    entries = [0.25] * 4 if preference is None else preference.tolist()
    expected = algorithm([C.tolist() for C in gramians], **parameters, preference=entries)
    for C, J, weights in zip(gramians, jacobians(), expected, strict=True):
        assert_close(weighting(C), weights, scale=1.0)
        assert_close(aggregator(J, cross_gramian=C), weights @ J)


def test_the_defaults():
    # Steps of 10 turn rounding into differences; of a few of them, none.
    weighting = jd.SDMGradWeighting(n_iter=2)
    assert (weighting.lr, weighting.momentum, weighting.lambda_) == (10.0, 0.5, 0.3)
    assert jd.SDMGradWeighting().n_iter == 20
    expected = algorithm([C.tolist() for C in cross_gramians()], 10.0, 0.5, 2, 0.3, [0.25] * 4)
    for C, weights in zip(cross_gramians(), expected, strict=True):
        assert_close(weighting(C), weights, scale=1.0)


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 3.0])
def test_many_small_steps_solve_the_problem(lambda_):
    for seed in range(5):
        J = gaussian(4, 6, seed)
        w = cvxpy.Variable(4)
        combined = J.numpy().T @ (w + lambda_ / 4)
        constraints = [w >= 0, cvxpy.sum(w) == 1]
        cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(combined)), constraints).solve(
            solver=cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
        )
        expected = (torch.from_numpy(w.value) + lambda_ / 4) / (1 + lambda_)
        found = jd.SDMGradWeighting(lr=0.1, n_iter=3000, lambda_=lambda_)(J @ J.T)
        assert float((found - expected).abs().max()) <= 1e-5


def test_a_large_lambda_gives_the_preference():
    weights = jd.SDMGradWeighting(lambda_=1e12, pref_vector=PREFERENCE)(cross_gramians()[0])
    assert_close(weights, PREFERENCE)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_the_scale_of_the_gradients_plays_no_part(scale):
    small, large = jd.SDMGradWeighting(), jd.SDMGradWeighting()
    for C in cross_gramians():
        assert torch.equal(small(C), large(scale * C))


@pytest.mark.parametrize("C", [[[-1.0, 3.0], [2.0, -4.0]], [[0.0, 0.0], [0.0, 0.0]]])
def test_a_diagonal_without_positive_entries(C):
    found = jd.SDMGradWeighting(lr=0.1)(torch.tensor(C))
    assert_close(found.sum(), torch.ones(()))
    assert torch.equal(found, jd.SDMGradWeighting(lr=0.1)(2.0**40 * torch.tensor(C)))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"lr": 0.0}, ValueError, "`lr` must be finite and greater than 0"),
        ({"momentum": 1.0}, ValueError, "`momentum` must be finite and at least 0 and less than 1"),
        ({"n_iter": 0}, ValueError, "`n_iter` must be at least 1. Got 0"),
        ({"n_iter": 2.0}, TypeError, "`n_iter` must be an int. Got float"),
        ({"lambda_": -0.1}, ValueError, "`lambda_` must be finite and at least 0"),
        ({"pref_vector": torch.eye(2)}, ValueError, "`pref_vector` must have one entry per"),
    ],
)
def test_wrong_parameters_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        jd.SDMGrad(**parameters)


def test_a_preference_of_another_length_leaves_the_state():
    aggregator = jd.SDMGrad(pref_vector=PREFERENCE)
    with pytest.raises(ValueError, match=r"`pref_vector` must have one entry per row, 3\. Got 4"):
        aggregator(gaussian(3, 4), cross_gramian=torch.eye(3))
    assert aggregator.state_dict() == {}


@pytest.mark.parametrize("m", [2, 8, 20])
def test_it_compiles(m):
    assert_compiled_agrees(jd.SDMGradWeighting(lr=0.5, n_iter=5), cross_gramians(m)[0])
