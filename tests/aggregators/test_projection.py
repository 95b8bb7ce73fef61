"""The dual-cone projection: exact, whatever the scale, the rank and the solver."""

import sys

import pytest
import torch

import jd_aggregators
from jd_aggregators import (
    ActiveSetProjector,
    DualProj,
    ExactProjector,
    ResidentProjector,
    UPGrad,
    UPGradWeighting,
    _projection,
)
from jd_aggregators._projection import _active_sets, _nonnegative
from torchjd.testing import (
    assert_close,
    assert_no_conflict,
    examples,
    project_onto_dual_cone,
)
from torchjd.testing.matrices import conflicting, gaussian, of_rank, opposite, with_row_scales


@pytest.fixture(params=["with quadprog", "without quadprog"])
def solver(request, monkeypatch):
    if request.param == "with quadprog":
        pytest.importorskip("quadprog", reason="quadprog is optional")
    else:
        monkeypatch.setattr(_nonnegative, "row_space_solver", lambda: None)
        monkeypatch.setattr(_active_sets, "numpy_solver", lambda: None)
    return request.param


def longest(matrix):
    return float(matrix.norm(dim=1).max()) or 1.0


NASTY = {
    "square": lambda m, s: gaussian(m, m, s),
    "wide": lambda m, s: gaussian(m, 4 * m, s),
    "rank m/2": lambda m, s: of_rank(m, 2 * m, max(1, m // 2), s),
    "more rows than columns": lambda m, s: gaussian(m, max(1, m // 2), s),
    "conflicting": lambda m, s: conflicting(m, 4 * m, s),
    "opposite up to 1e-3": lambda m, s: opposite(m, 2 * m, 1e-3, s),
    "opposite up to 1e-6": lambda m, s: opposite(m, 2 * m, 1e-6, s),
    "row scales 1e-4 to 1e4": lambda m, s: with_row_scales(m, 2 * m, 4.0, s),
    "zeros and duplicates": lambda m, s: (
        gaussian(m, m, s)[torch.arange(m) // 2 * 2] * (torch.arange(m) % 5 > 0)[:, None]
    ),
    "spectrum down to 1e-5": lambda m, s: (
        torch.linalg.svd(gaussian(m, m, s))[0]
        @ torch.diag(torch.logspace(0, -5, m, dtype=torch.float64))
        @ torch.linalg.svd(gaussian(m, m, s + 1))[2]
    ),
}


@pytest.mark.parametrize("m", [2, 3, 5, 8, 24])
@pytest.mark.parametrize("family", NASTY)
def test_no_row_conflicts(family, m, solver):
    for seed in range(2 if m < 8 else 1):
        matrix = NASTY[family](m, seed)
        for scale in (1e-30, 1.0, 1e30):
            assert_no_conflict(UPGrad(), scale * matrix)
            assert_no_conflict(DualProj(), scale * matrix)


@pytest.mark.parametrize("family", NASTY)
def test_float32_never_fails(family, solver):
    for m in (2, 5, 16):
        assert_no_conflict(UPGrad(), NASTY[family](m, 0).float())


def test_an_indefinite_float32_gramian_is_survived(solver):
    # 24 rows of rank 3: the rounding of the Gramian makes it indefinite by about 1e-7.
    for seed in range(5):
        matrix = of_rank(24, 200, 3, seed).float()
        gramian = matrix @ matrix.T
        assert float(torch.linalg.eigvalsh(gramian.double()).min()) < 0
        weights = UPGradWeighting()(gramian)
        assert weights.dtype == torch.float32
        products = matrix.double() @ (weights.double() @ matrix.double())
        # The weights themselves are rounded to float32, and there are as many as rows.
        allowed = 1e-5 * longest(matrix.double()) * matrix.double().norm(dim=1)
        assert bool((products >= -allowed).all())


# The oracle tries all sets of rows.
FEW_ROWS = [example for example in examples(n_seeds=2) if len(example.matrix) <= 6]


@pytest.mark.parametrize("example", FEW_ROWS, ids=lambda e: e.name)
def test_each_projection_is_that_of_the_oracle(example, solver):
    matrix = example.matrix
    weights = ExactProjector()(torch.eye(len(matrix), dtype=torch.float64), matrix @ matrix.T)
    for row, found in zip(matrix, weights @ matrix, strict=True):
        assert_close(found, project_onto_dual_cone(row, matrix), scale=10 * longest(matrix))


@pytest.mark.parametrize("family", NASTY)
def test_both_solvers_agree(family, monkeypatch):
    pytest.importorskip("quadprog", reason="quadprog is optional")
    matrix = NASTY[family](12, 3)
    with_it = UPGrad()(matrix)
    monkeypatch.setattr(_nonnegative, "row_space_solver", lambda: None)
    assert_close(UPGrad()(matrix), with_it, scale=10 * longest(matrix))


def test_a_combination_that_conflicts_with_nothing_is_left_alone():
    matrix = gaussian(4, 6).abs()
    combinations = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close(ExactProjector()(combinations, matrix @ matrix.T), combinations)


def test_batches_are_solved_one_by_one():
    matrices = torch.stack([gaussian(3, 5, seed) for seed in range(4)]).view(2, 2, 3, 5)
    gramians = matrices @ matrices.mT
    identity = torch.eye(3, dtype=torch.float64).expand(2, 2, 3, 3)
    found = ExactProjector()(identity, gramians)
    assert found.shape == (2, 2, 3, 3)
    for i in range(2):
        for j in range(2):
            single = ExactProjector()(identity[i, j], gramians[i, j])
            assert torch.equal(found[i, j], single)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_gives_nan(value):
    gramian = torch.eye(3)
    gramian[1, 2] = value
    assert bool(ExactProjector()(torch.eye(3), gramian).isnan().all())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("projector", [ExactProjector, ResidentProjector])
@pytest.mark.parametrize("m", [3, 12, 40])
def test_a_combination_that_is_not_finite_leaves_the_others_alone(m, projector, value, solver):
    matrix = conflicting(m, m)
    combinations = torch.eye(m, dtype=torch.float64)
    expected = projector()(combinations, matrix @ matrix.T)
    combinations[1, 0] = value
    found = projector()(combinations, matrix @ matrix.T)
    assert bool(found[1].isnan().all())
    others = torch.arange(m) != 1
    assert_close(found[others] @ matrix, expected[others] @ matrix, scale=longest(matrix))


@pytest.mark.parametrize(
    ("u", "g"), [((2, 3), (4, 4)), ((3,), (3, 3)), ((2, 3), (3, 4)), ((5, 2, 3), (4, 3, 3))]
)
def test_shapes_that_do_not_fit_are_refused(u, g):
    with pytest.raises(ValueError, match=r"`U` and `G` must have shapes .* Got"):
        ExactProjector()(torch.zeros(u), torch.zeros(g))


def test_quadprog_that_gives_up_is_made_good(monkeypatch):
    quadprog = pytest.importorskip("quadprog", reason="quadprog is optional")
    calls = []

    def give_up(*args):
        calls.append(args)
        raise ValueError("constraints are inconsistent, no solution")

    matrix = of_rank(12, 20, 6)
    expected = UPGrad()(matrix)
    monkeypatch.setattr(quadprog, "solve_qp", give_up)
    assert_close(UPGrad()(matrix), expected)
    assert calls


@pytest.mark.parametrize("missing", ["quadprog", "numpy"])
def test_what_is_not_installed_is_done_without(missing, monkeypatch):
    matrices = [conflicting(6, 9), of_rank(12, 20, 6), gaussian(40, 60)]
    expected = [UPGrad()(matrix) for matrix in matrices]
    monkeypatch.setitem(sys.modules, missing, None)
    for module in ("_numpy", "_quadprog"):
        monkeypatch.delitem(sys.modules, f"jd_aggregators._projection.{module}", raising=False)
        monkeypatch.delattr(_projection, module, raising=False)
    for where, solver in ((_nonnegative, "row_space_solver"), (_active_sets, "numpy_solver")):
        monkeypatch.setattr(where, solver, getattr(where, solver).__wrapped__)
    assert _nonnegative.row_space_solver() is None
    assert (_active_sets.numpy_solver() is None) == (missing == "numpy")
    for matrix, right in zip(matrices, expected, strict=True):
        assert_close(UPGrad()(matrix), right, scale=longest(matrix))


def test_wrong_guesses_of_the_active_sets_are_made_good():
    matrix = conflicting(48, 60)
    U, G = torch.eye(48, dtype=torch.float64), matrix @ matrix.T
    projector = ActiveSetProjector()
    right = projector.solve(U, G)
    for start in (right.active, ~right.active, torch.ones_like(right.active)):
        assert_close(projector.solve(U, G, start=start).weights, right.weights)
    singular = of_rank(48, 60, 20)
    right = projector(U, singular @ singular.T)
    found = projector.solve(U, singular @ singular.T, start=torch.ones(48, 48, dtype=torch.bool))
    assert_close(found.weights @ singular, right @ singular, scale=longest(singular))


@pytest.mark.parametrize("name", ["UPGrad", "DualProj", "Mean", "Random"])
def test_the_default_device_plays_no_part(name, solver):
    matrix = of_rank(6, 9, 3)  # the solvers of last resort are reached too
    expected = UPGrad()(matrix)
    with torch.device("meta"):
        found = getattr(jd_aggregators, name)()(matrix)
    assert found.device == matrix.device
    assert name != "UPGrad" or torch.equal(found, expected)
