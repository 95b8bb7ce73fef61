"""The solver of bargains, on whatever rows, exponents and dtypes, with and without numpy."""

import warnings

import pytest
import torch

from jd_aggregators import _alpha_fair, _arithmetic
from jd_aggregators._alpha_fair import alpha_fair_weights
from torchjd.linalg import MinNormSolver
from torchjd.testing import examples
from torchjd.testing.matrices import conflicting, gaussian, of_rank, opposite, with_row_scales

ALPHAS = (0.05, 0.2, 1.0, 3.0, 20.0)
LARGE = {
    "gaussian": gaussian(32, 40),
    "conflicting": conflicting(32, 100),
    "one side": of_rank(64, 90, 20) + 1.0,
    "rank 16": gaussian(32, 16),
    "opposite": opposite(32, 30, 1e-3),
    "nearly dependent": opposite(32, 16, 1e-3, seed=4),
    "row scales": with_row_scales(32, 16, 4.0, seed=3),
    "row scales, independent": with_row_scales(32, 64, 4.0, seed=1),
}
EXAMPLES = {e.name: e.matrix for e in examples(n_seeds=3)} | LARGE


def assert_solved(J, w, alpha):
    """Assert that ``w`` solves the equation, or that it is 0 and there is no solution."""
    lengths = J.norm(dim=1)
    units = J / torch.where(lengths > 0, lengths, 1.0)[:, None]
    live = units[lengths > 0]
    if len(live) == 0 or float((MinNormSolver()(live @ live.T) @ live).norm()) < 1e-6:
        assert bool((w == 0).all())
        return
    assert torch.equal(w > 0, lengths > 0)
    w, lengths = w[lengths > 0], lengths[lengths > 0]
    progress, asked = live @ (w * lengths @ live), w ** (-1 / alpha) / lengths
    # A progress that cancels is known up to the rounding of what it is the sum of.
    error = (progress - asked).abs()
    assert bool((error <= 1e-9 * asked + 1e-14 * (w * lengths).sum()).all())


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_structure(name, alpha):
    J = EXAMPLES[name]
    assert_solved(J, alpha_fair_weights(J @ J.T, alpha), alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", LARGE)
def test_without_numpy(name, alpha, monkeypatch):
    monkeypatch.setattr(_arithmetic, "numpy_module", lambda: None)
    assert_solved(LARGE[name], alpha_fair_weights(LARGE[name] @ LARGE[name].T, alpha), alpha)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", EXAMPLES)
def test_where_nothing_can_be_looked_at(name, alpha, monkeypatch):
    for module in (_arithmetic, _alpha_fair):
        monkeypatch.setattr(module, "on_host", lambda tensor: False)
    J = EXAMPLES[name]
    assert_solved(J, alpha_fair_weights(J @ J.T, alpha), alpha)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_gramian_of_less_precision(dtype):
    J = gaussian(6, 40)
    exact = alpha_fair_weights(J @ J.T, 1.0)
    found = alpha_fair_weights((J @ J.T).to(dtype), 1.0)
    assert found.dtype == torch.float32
    assert float((found / exact - 1).abs().max()) <= 40 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_its_rounding_is_taken_for_no_direction(dtype):
    J = of_rank(24, 40, 3)
    assert bool((alpha_fair_weights((J @ J.T).to(dtype), 1.0) == 0).all())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(value):
    gramian = torch.eye(3)
    gramian[0, 1] = gramian[1, 0] = value
    assert bool(alpha_fair_weights(gramian, 2.0).isnan().all())


def test_what_has_not_converged_is_told():
    J = with_row_scales(32, 100, 4.0, seed=4)
    with pytest.warns(RuntimeWarning, match="`alpha=0.02` have not converged in 300 steps"):
        alpha_fair_weights(J @ J.T, 0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alpha_fair_weights(J @ J.T, 0.02, max_steps=5)
