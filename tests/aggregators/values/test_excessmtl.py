"""ExcessMTL against the equations of the paper, in Python's own numbers."""

from math import exp, sqrt

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

from .histories import STEPS, assert_compiled_agrees, jacobians


def excess_risks(matrices):
    """Yield the estimate of each row, equations 6 and 7, entry by entry."""
    m, n = matrices[0].shape
    squares = [[0.0] * n for _ in range(m)]
    for J in matrices:
        rows = J.tolist()
        for i in range(m):
            for j in range(n):
                squares[i][j] += rows[i][j] ** 2
        yield [sum(rows[i][j] ** 2 / sqrt(squares[i][j]) for j in range(n)) for i in range(m)]


def weights_of(matrices, eta, n_warmup_steps):
    """Yield the weights, equation 9."""
    m = len(matrices[0])
    weights, collected = [1 / m] * m, []
    for risks in excess_risks(matrices):
        if len(collected) < max(n_warmup_steps, 1):
            collected.append(risks)
        else:
            baseline = [sum(column) / len(collected) for column in zip(*collected, strict=True)]
            grown = [weights[i] * exp(eta * risks[i] / baseline[i]) for i in range(m)]
            weights = [one / sum(grown) for one in grown]
        yield torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize("m", [1, 4, 9])
@pytest.mark.parametrize("n_warmup_steps", [0, 1, 2, 7, STEPS + 1])
@pytest.mark.parametrize("eta", [1.0, 0.1])
def test_the_equations(m, n_warmup_steps, eta):
    weighting = jd.ExcessMTLWeighting(eta, n_warmup_steps)
    aggregator = jd.ExcessMTL(eta, n_warmup_steps)
    matrices = jacobians(m)
    for J, weights in zip(matrices, weights_of(matrices, eta, n_warmup_steps), strict=True):
        assert_close(weighting(J), weights, scale=1.0)
        assert_close(aggregator(J), weights @ J)


def test_two_steps_by_hand():
    aggregator = jd.ExcessMTL()
    first = torch.tensor([[3.0, 0.0], [0.0, 8.0]], dtype=torch.float64)
    assert_close(aggregator(first), first.mean(dim=0))
    # S is 9 + 16 and 64 + 36, so E is 16/5 and 36/10; at first it was 3 and 8.
    second = torch.tensor([[4.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    ratio = exp(16 / 15 - 36 / 80)
    expected = torch.tensor([ratio / (1 + ratio) * 4.0, 6.0 / (1 + ratio)], dtype=torch.float64)
    assert_close(aggregator(second), expected)


def test_an_objective_that_converges_loses_weight():
    weighting = jd.ExcessMTLWeighting()
    for k in range(1, 10):
        rows = gaussian(2, 50, seed=k)
        weights = weighting(rows * torch.tensor([[1.0], [0.3**k]]))
    assert float(weights[0]) > 0.9


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_a_row_plays_no_part(scale):
    one, other = jd.ExcessMTLWeighting(n_warmup_steps=2), jd.ExcessMTLWeighting(n_warmup_steps=2)
    factors = torch.tensor([[1.0], [scale], [1.0], [1 / scale]])
    for J in jacobians():
        assert_close(one(J), other(factors * J), scale=1.0)


def test_a_row_of_zeros_gets_its_baseline_when_it_moves():
    rows = gaussian(3, 5)
    still = rows * torch.tensor([[1.0], [0.0], [1.0]])
    weighting, steps = jd.ExcessMTLWeighting(), [still, still, rows]
    for J in steps[:-1]:
        weighting(J)
    # Squares that were zero give no risk, where the others' fall; then it is 1 of the baseline.
    others = [[risks[0], risks[2]] for risks in excess_risks([rows] * 3)]
    logits = [sum(others[k][i] / others[0][i] for k in (1, 2)) for i in (0, 1)]
    expected = torch.tensor([logits[0], 1.0, logits[1]], dtype=torch.float64).softmax(dim=0)
    assert_close(weighting(rows), expected)


def test_weights_recover_from_far_down():
    weighting = jd.ExcessMTLWeighting(robust_step_size=100.0)
    weighting(torch.eye(2))
    for _ in range(20):  # of exp(-1000) nothing would be left, were it not for the logarithms
        low = weighting(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert low.tolist() == [1.0, 0.0]
    for _ in range(200):
        high = weighting(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert high.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("n_warmup_steps", [0, 5])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_what_is_not_finite_or_overflows_shows(value, n_warmup_steps):
    weighting = jd.ExcessMTLWeighting(n_warmup_steps=n_warmup_steps)
    weighting(torch.ones(2, 3))
    before = {name: kept.clone() for name, kept in weighting.state_dict().items()}
    broken = torch.ones(2, 3)
    broken[0, 1] = value
    assert bool(weighting(broken).isnan().all())
    assert all(torch.equal(kept, before[name]) for name, kept in weighting.state_dict().items())
    assert bool(torch.isfinite(weighting(torch.ones(2, 3))).all())


def test_half_precision_is_remembered_in_single():
    weighting = jd.ExcessMTLWeighting()
    rows = 1000.0 * gaussian(2, 5).half()
    for _ in range(3):
        weights = weighting(rows)
    assert weights.dtype == torch.float32
    assert bool(torch.isfinite(weights).all())


def test_other_parameters_need_a_reset():
    aggregator = jd.ExcessMTL()
    aggregator(gaussian(2, 5))
    with pytest.raises(ValueError, match=r"shape \[2, 5\], and now needs one of shape \[2, 6\]"):
        aggregator(gaussian(2, 6))
    aggregator.reset()
    J = gaussian(2, 6)
    assert_close(aggregator(J), J.mean(dim=0))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"robust_step_size": 0.0}, ValueError, "`robust_step_size` must be finite and greater"),
        ({"n_warmup_steps": -1}, ValueError, "`n_warmup_steps` must be at least 0. Got -1"),
        ({"n_warmup_steps": 1.5}, TypeError, "`n_warmup_steps` must be an int. Got float"),
    ],
)
def test_wrong_parameters_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        jd.ExcessMTL(**parameters)


@pytest.mark.parametrize("m", [2, 8, 20])
@pytest.mark.parametrize("n_warmup_steps", [0, 2])
def test_it_compiles(m, n_warmup_steps):
    assert_compiled_agrees(jd.ExcessMTLWeighting(n_warmup_steps=n_warmup_steps), gaussian(m, 7))
