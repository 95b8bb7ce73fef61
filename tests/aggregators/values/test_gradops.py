"""GradOPS against projections of the rows one by one, by least squares."""

import pytest
import torch

from jd_aggregators import GradOPS, GradOPSWeighting
from torchjd.testing import assert_close, tolerance
from torchjd.testing.matrices import gaussian, of_rank, opposite, with_duplicates, with_zero_rows

from .random_problems import jacobian

EXACT = tolerance(torch.float64)


def row_by_row(J, alpha=0.0):
    """Return the update by the paper: each row that conflicts, off the span of the others."""
    lengths = J.norm(dim=1)
    modified = []
    for i, row in enumerate(J):
        others = torch.cat([J[:i], J[i + 1 :]])
        others = others[others.norm(dim=1) > 0]
        cosines = others @ row / others.norm(dim=1) / lengths[i]
        if bool((cosines < -1e-12).any()):
            units = (others / others.norm(dim=1, keepdim=True)).T
            left, values, _ = torch.linalg.svd(units, full_matrices=False)
            basis = left[:, values > 1e-6 * values[0]]
            rest = row - basis @ (basis.T @ row)
            rest = rest - basis @ (basis.T @ rest)
            modified.append(rest if rest.norm() > 1e-6 * lengths[i] else torch.zeros_like(row))
        else:
            modified.append(row)
    new = torch.stack(modified)
    if alpha == 0.0:
        return new.sum(0)
    speeds = J @ new.sum(0) / torch.where(lengths > 0, lengths, 1.0)
    speeds = torch.where(speeds > 1e-9 * lengths.max(), speeds, 0.0)
    powers = torch.where(speeds > 0, (speeds / speeds.max()) ** alpha, 0.0)
    count = int((speeds > 0).sum())
    return (powers * count / powers.sum()) @ new if count else torch.zeros_like(J[0])


@pytest.mark.parametrize("alpha", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("seed", range(130))
def test_random_problems(seed, alpha):
    J = jacobian(seed)
    size = 1e2 * len(J) * J.norm(dim=1).max()
    assert_close(GradOPS(alpha)(J), row_by_row(J, alpha), scale=size)


@pytest.mark.parametrize("seed", range(100))
def test_no_row_conflicts(seed):
    J = jacobian(seed)
    lengths = J.norm(dim=1)
    for alpha in (0.0, 2.0, -2.0):
        assert bool((J @ GradOPS(alpha)(J) >= -EXACT * lengths * lengths.max()).all())


def test_what_is_left_of_a_row_is_orthogonal_to_the_others():
    # Scaled up, one row decides what the update is.
    J = gaussian(5, 12) - 0.9 * gaussian(5, 12).mean(0)
    assert bool(((J @ J.T) < 0).any(1).all()), "all conflict"
    for i in range(5):
        scales = torch.ones(5, dtype=torch.float64)
        scales[i] = 2.0
        part = GradOPS()(scales[:, None] * J) - GradOPS()(J)
        expected = torch.zeros(5, dtype=torch.float64)
        expected[i] = part @ part
        assert_close(J @ part, expected)


def test_rows_without_conflict_are_summed():
    J = gaussian(4, 9).abs()
    assert_close(GradOPS()(J), J.sum(0))


def test_three_rows():
    # The first two conflict and are made orthogonal; the third is orthogonal to both.
    J = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    assert_close(GradOPS()(J), torch.tensor([0.5, 1.5, 5.0]))


def test_objectives_that_lag_behind_gain():
    J = torch.diag(torch.tensor([1.0, 3.0]))
    assert_close(GradOPS(alpha=1.0)(J), torch.tensor([0.5, 4.5]))
    assert_close(GradOPS(alpha=-1.0)(J), torch.tensor([1.5, 1.5]))
    assert_close(GradOPSWeighting(alpha=-200.0)(J @ J.T), torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0])
def test_rows_that_cannot_help_do_not_count(alpha):
    assert bool((GradOPS(alpha)(opposite(4, 6, 0.0)).abs() < 1e-12).all())
    J = with_zero_rows(6, 9)
    assert_close(GradOPS(alpha)(J), GradOPS(alpha)(J[::2]))


@pytest.mark.parametrize("alpha", [0.0, -1.5])
@pytest.mark.parametrize("m", [1, 4, 12])
def test_traced_code_agrees(m, alpha):
    weighting = GradOPSWeighting(alpha)
    torch.compiler.reset()
    traced = torch.compile(weighting, fullgraph=True, backend="eager")
    for J in (gaussian(m, 20), of_rank(m, 20, max(1, m // 2)), with_duplicates(m, 20)):
        expected = weighting(J @ J.T)
        assert_close(traced(J @ J.T), expected, scale=1.0 + expected.abs().max())


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_exponents_are_finite(value):
    with pytest.raises(ValueError, match=r"`alpha` must be finite\. Got"):
        GradOPS(alpha=value)
