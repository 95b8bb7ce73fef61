"""Lexicographic against a general solver, closed forms, and what it says about priorities."""

import cvxpy
import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close, examples, tolerance
from torchjd.testing.matrices import gaussian, of_rank, with_row_scales


def mean_of_projections(J, levels):
    """Each row projected by an interior-point method."""
    total, above = torch.zeros(J.shape[1], dtype=J.dtype), []
    for level in levels:
        for i in level:
            d = cvxpy.Variable(J.shape[1])
            length = float(J[i].norm())
            units = J[above] / J[above].norm(dim=1, keepdim=True)
            limits = [units.numpy() @ d >= 0] if above else []
            away = cvxpy.Minimize(cvxpy.sum_squares(d - (J[i] / length).numpy()))
            cvxpy.Problem(away, limits).solve(solver=cvxpy.CLARABEL)
            total += length * torch.from_numpy(d.value)
        above = [*above, *level]
    return total / len(J)


@pytest.mark.parametrize("kind", ["gaussian", "rank 2", "row scales"])
@pytest.mark.parametrize(
    "levels", [None, [[0], [1, 2], [3, 4, 5]], [[5, 3], [0], [4, 1, 2]]], ids=str
)
def test_rows_are_projected_onto_the_cone_of_those_above(kind, levels):
    make = {
        "gaussian": gaussian,
        "rank 2": lambda m, n, seed: of_rank(m, n, 2, seed),
        "row scales": lambda m, n, seed: with_row_scales(m, n, 2.0, seed),
    }[kind]
    for seed in range(8):
        J = make(6, 4 + seed, seed)
        expected = mean_of_projections(J, levels or [[i] for i in range(6)])
        error = (jd.Lexicographic(levels)(J) - expected).norm() / J.norm(dim=1).max()
        assert float(error) < 1e-6  # what the interior-point method leaves


def test_lower_levels_take_nothing_from_higher_ones():
    for example in examples():
        J, m = example.matrix, len(example.matrix)
        update = jd.Lexicographic()(J)
        for k in range(1, m):
            alone = J.clone()
            alone[k:] = 0.0
            gain = J[:k] @ (update - jd.Lexicographic()(alone))
            allowed = tolerance(J.dtype) * J[:k].norm(dim=1) * J.norm(dim=1).max()
            assert bool((gain >= -allowed).all()), example.name


def test_a_single_level_is_the_mean():
    J = gaussian(4, 6)
    assert_close(jd.Lexicographic([[2, 0, 3, 1]])(J), J.mean(dim=0))


def test_two_rows_have_a_closed_form():
    g, h = torch.tensor([[2.0, 0.0], [-1.0, 3.0]], dtype=torch.float64)
    J = torch.stack([g, h])
    assert_close(jd.Lexicographic()(J), (g + torch.tensor([0.0, 3.0])) / 2)
    assert_close(jd.Lexicographic([[1], [0]])(J), (h + g - (g @ h) / (h @ h) * h) / 2)


def test_what_opposes_a_higher_row_is_left_out():
    g = gaussian(1, 5)[0]
    assert_close(jd.Lexicographic()(torch.stack([g, -3 * g])), g / 2)


@pytest.mark.parametrize(
    ("levels", "error", "message"),
    [
        ([[0], [0, 1]], ValueError, "`levels` must name each row once"),
        ([[0], [2]], ValueError, "`levels` must name each row once"),
        ([[0], []], ValueError, "with no level empty"),
        ([], ValueError, "`levels` must name each row once"),
        ([0, 1], TypeError, "`levels` must be a list of lists"),
        ([[0.0], [1.0]], TypeError, "`levels` must hold ints"),
    ],
)
def test_wrong_levels_are_refused(levels, error, message):
    with pytest.raises(error, match=message):
        jd.Lexicographic(levels)


def test_another_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="there are 3"):
        jd.Lexicographic([[0], [1]])(torch.eye(3))


def test_the_default_device_plays_no_part():
    J = gaussian(4, 9)
    with torch.device("meta"):
        found = jd.Lexicographic()(J)
    assert torch.equal(found, jd.Lexicographic()(J))
