"""PCD against the paper's problem, solved by cvxpy, and against closed forms."""

import cvxpy
import numpy as np
import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian, of_rank, opposite, with_row_scales

SHAPES = [(2, 3), (3, 7), (5, 4), (8, 20), (12, 5)]


def solved(J, tau, squares, eps=1e-8):
    """The direction by an interior-point method, as long as the first row; None if unclear."""
    rows = J / (squares + eps).sqrt()[:, None]
    d = cvxpy.Variable(J.shape[1])
    others, asked = rows[1:].numpy(), (tau * rows[1:].square().sum(1)).numpy()
    away = cvxpy.Minimize(cvxpy.sum_squares(d - rows[0].numpy()))
    problem = cvxpy.Problem(away, [others @ d >= asked])
    problem.solve(solver=cvxpy.CLARABEL)
    if problem.status in {"infeasible", "infeasible_inaccurate"}:
        return J[0]
    if problem.status != "optimal" or np.linalg.norm(d.value) < 1e-6:
        return None
    return torch.from_numpy(d.value / np.linalg.norm(d.value)) * J[0].norm()


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["gaussian", "rank 2", "row scales"])
def test_it_solves_the_problem_of_the_paper(kind, tau):
    make = {
        "gaussian": gaussian,
        "rank 2": lambda m, n, seed: of_rank(m, n, 2, seed),
        "row scales": lambda m, n, seed: with_row_scales(m, n, 3.0, seed),
    }[kind]
    compared = 0
    for m, n in SHAPES:
        for seed in range(6):
            J = make(m, n, seed)
            expected = solved(J, tau, J.square().sum(1))
            if expected is not None:
                compared += 1
                error = (jd.PCD(tau)(J) - expected).norm() / J[0].norm()
                assert float(error) < 2e-5  # what the interior-point method leaves
    assert compared >= 10


@pytest.mark.parametrize("tau", [0.02, 0.5])
@pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3])
def test_secondary_gradients_that_are_nearly_opposite_still_progress(noise, tau):
    for seed in range(10):
        J = opposite(4, 12, noise, seed)
        progress = J[1:] @ jd.PCD(tau)(J)
        assert float(progress.min()) > 0


def test_two_rows_have_a_closed_form():
    for seed in range(50):
        J = gaussian(2, 3, seed)
        a, b = J / J.norm(dim=1, keepdim=True)
        bent = a + max(0.02 - float(a @ b), 0.0) * b
        assert_close(jd.PCD(eps=0.0)(J), bent / bent.norm() * J[0].norm())


def test_an_update_of_no_conflict_is_the_first_row():
    J = gaussian(4, 6).abs()
    assert_close(jd.PCD()(J), J[0])


def test_secondary_rows_that_contradict_each_other_are_dropped():
    J = gaussian(3, 6)
    J[2] = -2 * J[1]
    assert_close(jd.PCD()(J), J[0])


def test_what_has_no_direction_left_is_zero():
    J = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    assert jd.PCD(tau=0.0)(J).tolist() == [0.0, 0.0]
    assert jd.PCD()(torch.tensor([[0.0, 0.0], [1.0, 2.0]])).tolist() == [0.0, 0.0]


def test_lengths_are_averaged_with_the_bias_corrected():
    aggregator = jd.PCD(tau=0.3, beta=0.9)
    average = torch.zeros(3, dtype=torch.float64)
    for step in range(1, 8):
        J = gaussian(3, 9, step) * 3.0**step
        average = 0.9 * average + 0.1 * J.square().sum(1)
        expected = solved(J, 0.3, average / (1 - 0.9**step))
        assert float((aggregator(J) - expected).norm() / J[0].norm()) < 2e-5


def test_the_length_of_a_secondary_row_does_not_matter():
    one, other = jd.PCD(eps=0.0), jd.PCD(eps=0.0)
    factors = torch.tensor([[1.0], [1e-6], [1e5]], dtype=torch.float64)
    for step in range(4):
        J = gaussian(3, 9, step)
        assert_close(other(factors * J), one(J))


@pytest.mark.parametrize("power", [-60, -3, 40])
def test_without_eps_it_scales_with_the_jacobian(power):
    one, other = jd.PCD(eps=0.0), jd.PCD(eps=0.0)
    for step in range(4):
        J = gaussian(4, 9, step)
        assert torch.equal(other(2.0**power * J), 2.0**power * one(J))


def test_another_number_of_rows_starts_anew():
    aggregator = jd.PCD()
    aggregator(100.0 * gaussian(4, 5))
    J = gaussian(3, 5)
    assert torch.equal(aggregator(J), jd.PCD()(J))
    J2 = gaussian(3, 5, 2)
    expected = jd.PCD()
    expected(J)
    assert torch.equal(aggregator(J2), expected(J2))


def test_each_secondary_objective_has_a_fraction_of_its_own():
    J = torch.eye(3, dtype=torch.float64)
    tau = torch.tensor([0.1, 0.9])
    expected = torch.tensor([1.0, 0.1, 0.9], dtype=torch.float64)
    assert_close(jd.PCD(tau, eps=0.0)(J).float(), expected / expected.norm())
    with pytest.raises(ValueError, match="`tau` must have one entry for each row but the first, 1"):
        jd.PCD(tau)(torch.eye(2))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tau": 1.5}, ValueError, "`tau` must be finite and at least 0 and at most 1"),
        ({"tau": torch.tensor([0.5, -0.5])}, ValueError, "`tau` must be a vector of numbers"),
        ({"tau": torch.tensor([1])}, TypeError, "`tau` must be a number or a floating-point"),
        ({"tau": "half"}, TypeError, "`tau` must be a number"),
        ({"beta": 1.0}, ValueError, "`beta` must be finite and at least 0 and less than 1"),
        ({"eps": -1.0}, ValueError, "`eps` must be finite and at least 0"),
    ],
)
def test_wrong_parameters_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        jd.PCD(**settings)


@pytest.mark.parametrize("kind", ["gaussian", "opposite", "zero row"])
def test_without_numpy_it_is_the_same(monkeypatch, kind):
    matrices = {
        "gaussian": [gaussian(m, 6, 3) for m in (1, 2, 5, 9)],
        "opposite": [opposite(m, 6, 0.0) for m in (2, 3)],
        "zero row": [gaussian(3, 6) * torch.tensor([[1.0], [0.0], [1.0]])],
    }[kind]
    expected = [jd.PCD()(J) for J in matrices]
    monkeypatch.setattr("jd_aggregators._pcd.numpy_module", lambda: None)
    for J, update in zip(matrices, expected, strict=True):
        assert_close(jd.PCD()(J), update, scale=J.norm())


def test_rows_of_another_number_that_are_not_finite_change_nothing():
    one, other = jd.PCD(tau=1.0), jd.PCD(tau=1.0)
    J, next_J = with_row_scales(4, 5, 2.0), gaussian(4, 5, 2)
    assert torch.equal(one(J), other(J))
    assert one(torch.full((3, 5), torch.inf)).isnan().all()
    assert torch.equal(one(next_J), other(next_J))
    assert not torch.equal(one(next_J), jd.PCD(tau=1.0)(next_J))
