"""Projectors on nasty problems, judged by a reference in extended precision; and the judges."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch

from jd_aggregators import ExactProjector, ResidentProjector
from torchjd.linalg import DualConeProjector
from torchjd.testing import assert_close, project_onto_dual_cone

from .judge import CERTIFIED, LIMITS, Figures, judge, violation
from .nasty import FAMILIES, nasty_problem

pytest.importorskip("scipy", reason="the reference starts from scipy's non-negative least squares")

from .reference import ROUNDING, _Cone, project_rows

PROJECTORS = [ExactProjector, ResidentProjector]
NUMBERS = range(4 * len(FAMILIES))
FEW_ROWS = [n for n in range(12 * len(FAMILIES)) if len(nasty_problem(n).matrix) <= 4]


def reference_of(matrix):
    return torch.tensor(project_rows(matrix.numpy()).projections.astype(float))


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize("number", NUMBERS)
def test_projectors_keep_what_they_promise(number, projector):
    matrix = nasty_problem(number).matrix
    assert judge(projector(), matrix, reference_of(matrix)).failures == ()


def test_problems_are_the_same_each_time_and_of_every_family():
    assert [nasty_problem(n).name for n in range(len(FAMILIES))] == list(FAMILIES)
    for number in NUMBERS:
        name, matrix = nasty_problem(number)
        assert matrix.dtype == torch.float64
        assert bool(torch.isfinite(matrix).all()), name
        assert torch.equal(nasty_problem(number).matrix, matrix), name


@pytest.mark.parametrize("number", NUMBERS)
def test_the_reference_is_certified(number):
    matrix = nasty_problem(number).matrix
    projections, bounds = project_rows(matrix.numpy())
    assert projections.shape == matrix.shape
    lengths = matrix.norm(dim=1).numpy()
    assert bool((bounds <= CERTIFIED * lengths).all())


@pytest.mark.parametrize("number", FEW_ROWS)
def test_the_reference_is_as_close_to_the_exact_projection_as_it_says(number):
    matrix = nasty_problem(number).matrix.numpy()
    projections, bounds = project_rows(matrix)
    for row, found, bound in zip(matrix, projections, bounds, strict=True):
        exact = exact_projection(row, matrix)
        error = sum((to_fraction(f) - e) ** 2 for f, e in zip(found, exact, strict=True))
        assert error <= Fraction(bound) ** 2


def to_fraction(x):
    upper = float(x)  # Fraction knows no long doubles
    return Fraction(upper) + Fraction(float(x - upper))


def exact_projection(x, matrix):
    """Return the projection of ``x`` onto the dual cone, in rationals, by trying all faces."""
    rows = [[Fraction(entry) for entry in row] for row in matrix]
    target = [Fraction(entry) for entry in x]
    for size in range(len(rows) + 1):
        for face in combinations(rows, size):
            multipliers = solve([[dot(a, b) for b in face] + [-dot(a, target)] for a in face])
            if multipliers is None or min(multipliers, default=0) < 0:
                continue
            terms = zip(multipliers, face, strict=True)
            moves = [[multiplier * entry for entry in row] for multiplier, row in terms]
            point = [sum(entries) for entries in zip(target, *moves, strict=True)]
            if all(dot(row, point) >= 0 for row in rows):
                return point
    raise AssertionError("no face has the projection")


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def solve(system):
    """Return the solution of ``[A, b]`` by elimination, or None if A is singular."""
    size = len(system)
    for k in range(size):
        pivot = next((row for row in system[k:] if row[k] != 0), None)
        if pivot is None:
            return None
        system.remove(pivot)
        system.insert(k, [entry / pivot[k] for entry in pivot])
        for i in set(range(size)) - {k}:
            factor = system[i][k]
            system[i] = [a - factor * b for a, b in zip(system[i], system[k], strict=True)]
    return [row[-1] for row in system]


@pytest.mark.parametrize("number", [n for n in NUMBERS if len(nasty_problem(n).matrix) <= 6])
def test_the_reference_agrees_with_the_oracle(number):
    matrix = nasty_problem(number).matrix
    for row, found in zip(matrix, reference_of(matrix), strict=True):
        assert_close(found, project_onto_dual_cone(row, matrix), scale=10 * float(matrix.norm()))


@pytest.mark.parametrize(
    ("rows", "projections"),
    [
        ([[1.0, 0.0], [-1.0, 1.0]], [[0.5, 0.5], [0.0, 1.0]]),
        ([[1.0, 2.0], [-3.0, -6.0]], [[0.0, 0.0], [0.0, 0.0]]),
        ([[1.0, 0.0], [-3.0, 0.0], [1.0, 1.0], [0.0, 0.0]], [[0, 0], [0, 0], [0, 1], [0, 0]]),
        ([[0.0, 0.0]], [[0.0, 0.0]]),
        ([[3.0]], [[3.0]]),
    ],
)
def test_what_is_known_by_hand(rows, projections):
    found = project_rows(np.array(rows))
    error = np.linalg.norm((found.projections - np.array(projections)).astype(float), axis=1)
    assert bool((error <= found.bounds).all())
    assert bool((found.bounds <= 100 * ROUNDING).all())


@pytest.mark.parametrize("size", [1e-14, 1e-8, 1e-3, 1.0])
@pytest.mark.parametrize("number", NUMBERS[1::7])
def test_the_bound_of_the_reference_holds_for_wrong_answers(number, size):
    matrix = nasty_problem(number).matrix.numpy()
    A = matrix[matrix.any(axis=1)].T.astype(np.longdouble)
    if A.size == 0:
        A = np.ones((2, 1), dtype=np.longdouble)
    A /= np.sqrt((A**2).sum(axis=0))
    cone, target, rng = (
        _Cone(A, np.zeros(A.shape[1], dtype=bool)),
        A[:, 0],
        np.random.default_rng(0),
    )
    x, w = cone.project(target)
    right = cone.error_bound(target, x, w)
    wrong = x + size * rng.standard_normal(len(x))
    distance = float(np.linalg.norm((wrong - x).astype(float)))
    assert cone.error_bound(target, wrong, w) >= distance - right
    moved = w + size * rng.random(len(w))
    assert cone.error_bound(target, target + A @ moved, moved) >= distance_of(moved, w, A) - right
    assert cone.error_bound(target, x, w - 1.0 - w.max()) == np.inf


def distance_of(moved, w, A):
    return float(np.linalg.norm((A @ (moved - w)).astype(float)))


class Changed(DualConeProjector):
    """The exact projector, except for what a test changes about its weights."""

    def __init__(self, change):
        self.change = change

    def __call__(self, U, G):
        return self.change(U, ExactProjector()(U, G))


def fail(U, V):
    raise RuntimeError("no convergence")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda U, V: U, "violation 0.71"),
        (lambda U, V: U, "error 0.71"),
        (lambda U, V: (1 + 1e-7) * V, "error 7.1e-08"),
        (lambda U, V: V - 1e-3 * (U.dtype == torch.float32), "violation32"),
        (lambda U, V: V * torch.nan, "sum_violation inf"),
        (fail, "RuntimeError: no convergence"),
    ],
)
def test_the_judge_finds_what_is_wrong(change, kind):
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    reference = reference_of(matrix)
    assert judge(ExactProjector(), matrix, reference).failures == ()
    assert any(kind in failure for failure in judge(Changed(change), matrix, reference).failures)
    assert len(LIMITS) == len(Figures._fields)


def test_a_violation_is_relative_to_the_row_and_the_longest_row():
    matrix = torch.tensor([[1.0, 0.0], [0.0, 10.0], [0.0, 0.0]], dtype=torch.float64)
    assert violation(matrix, torch.tensor([[-2.0, 0.0]], dtype=torch.float64)) == 0.2
    assert violation(matrix, torch.tensor([[2.0, 0.0]], dtype=torch.float64)) == 0.0
