"""The projector that stays on the device: exact, a batch at a time, without a host read."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from jd_aggregators._projection import (
    _interior_point,
    _matrix_products,
    _on_device,
    _projected_gradients,
)
from jd_aggregators._projection._on_device import solve_on_device
from jd_aggregators._projection._resident import ResidentProjector
from jd_aggregators._projection._residual import residual
from torchjd.testing import assert_close, project_onto_dual_cone
from torchjd.testing.matrices import conflicting, gaussian, of_rank, opposite, with_row_scales

from .nasty import nasty_problem


def parallel(m, n, noise, seed):
    return gaussian(1, n, seed) + noise * gaussian(m, n, seed + 1)


def with_spectrum(m, seed):
    left, _, right = torch.linalg.svd(gaussian(m, m, seed))
    return left @ torch.diag(torch.logspace(0, -5, m, dtype=torch.float64)) @ right


def zeros_and_duplicates(m, seed):
    rows = gaussian(m, m, seed)[torch.arange(m) // 2 * 2]
    return rows * (torch.arange(m) % 5 > 0)[:, None]


WELL_CONDITIONED = {
    "wide": lambda m, s: gaussian(m, 4 * m, s),
    "square": lambda m, s: gaussian(m, m, s),
    "conflicting": lambda m, s: conflicting(m, 4 * m, s),
    "row scales 1e-4 to 1e4": lambda m, s: with_row_scales(m, 2 * m, 4.0, s),
    "zeros and duplicates": zeros_and_duplicates,
    "zero": lambda m, s: torch.zeros(m, 3, dtype=torch.float64),
}
FAMILIES = WELL_CONDITIONED | {
    "more rows than columns": lambda m, s: gaussian(m, max(1, m // 2), s),
    "rank m/2": lambda m, s: of_rank(m, 2 * m, max(1, m // 2), s),
    "rank 3": lambda m, s: of_rank(m, 2 * m, 3, s),
    "rank 1": lambda m, s: of_rank(m, 2 * m, 1, s),
    "conflicting, square": lambda m, s: conflicting(m, m, s),
    "parallel up to 1e-3": lambda m, s: parallel(m, 2 * m, 1e-3, s),
    "opposite up to 1e-3": lambda m, s: opposite(m, 2 * m, 1e-3, s),
    "opposite": lambda m, s: opposite(m, 2 * m, 0.0, s),
    "spectrum down to 1e-5": with_spectrum,
}
# The method for small, for medium and for large problems, by a number of rows that it gets.
METHODS = {"enumeration": 5, "interior point": 12, "matrix products": 20}


@pytest.fixture
def sizes(monkeypatch):
    """Let problems with more than 16 rows count as large ones."""
    monkeypatch.setattr(_on_device, "_MEDIUM", 16)


@pytest.fixture
def few_steps(sizes, monkeypatch):
    """Shorten the loops, whose steps are all alike, for what traces them."""
    monkeypatch.setattr(_interior_point, "_ITERATIONS", 2)
    monkeypatch.setattr(_projected_gradients, "_STEPS", 2)
    monkeypatch.setattr(_matrix_products, "_ROUNDS", 1)


def gramian(matrix):
    return matrix @ matrix.mT


def identity(m):
    return torch.eye(m, dtype=torch.float64)


def normalized(matrix):
    lengths = matrix.norm(dim=1, keepdim=True)
    return matrix / torch.where(lengths > 0, lengths, 1.0)


def assert_projects(matrix, rows):
    """Assert that ``rows`` of ``matrix``, all of length 1, are projected as least squares says."""
    optimize = pytest.importorskip("scipy.optimize", reason="the reference")
    lengths = matrix.norm(dim=1)
    directions = normalized(matrix)
    scaled = torch.where(lengths > 0, lengths, 1.0)
    weights = ResidentProjector()(identity(len(matrix))[rows] / scaled, gramian(matrix))
    assert bool((weights >= identity(len(matrix))[rows] / scaled).all())
    found = (weights * lengths) @ directions
    assert float((found @ directions.T).min()) >= -1e-9
    for row, x in zip(directions[rows], found, strict=True):
        nearest = optimize.nnls(directions.T.numpy(), -row.numpy(), maxiter=100 * len(matrix))[0]
        expected = row + torch.from_numpy(nearest) @ directions
        assert float((x - expected).norm()) <= 1e-8


@pytest.mark.parametrize("m", [1, 2, 5, 8, 9, 24, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_exact(family, m):
    for seed in range(3 if m < 9 else 1):
        assert_projects(FAMILIES[family](m, seed), slice(None, None, max(1, m // 12)))


@pytest.mark.parametrize("family", WELL_CONDITIONED)
def test_matrix_products_are_exact(family, sizes):
    assert_projects(WELL_CONDITIONED[family](40, 0), slice(None))


@pytest.mark.parametrize("family", FAMILIES)
def test_matrix_products_for_a_few_combinations_are_exact_everywhere(family, sizes):
    assert_projects(FAMILIES[family](24, 0), slice(8))


def test_hundreds_of_rows(sizes):
    assert_projects(gaussian(300, 600), slice(None, None, 10))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_projection_is_that_of_the_oracle(family):
    matrix = normalized(FAMILIES[family](6, 5))
    weights = ResidentProjector()(identity(6), gramian(matrix))
    for row, found in zip(matrix, weights @ matrix, strict=True):
        assert_close(found, project_onto_dual_cone(row, matrix), scale=10.0)


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
def test_batches_are_solved_as_one_by_one(m, sizes):
    gramians = torch.stack([gramian(gaussian(m, m, seed)) for seed in range(6)]).view(2, 3, m, m)
    for k in (1, m, m + 9):
        combinations = gaussian(6 * k, m).view(2, 3, k, m)
        found = ResidentProjector()(combinations, gramians)
        for i in range(2):
            for j in range(3):
                single = ResidentProjector()(combinations[i, j], gramians[i, j])
                assert_close(found[i, j], single)


@pytest.mark.parametrize("m", [*METHODS.values(), 0])
@pytest.mark.parametrize("lead", [(0,), (2, 0), (3,), ()])
def test_empty_batches_and_no_combinations(m, lead, sizes):
    gramians = identity(m).expand(*lead, m, m)
    for k in (0, m):
        combinations = torch.zeros(*lead, k, m)
        assert ResidentProjector()(combinations, gramians).shape == (*lead, k, m)


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_poisons_nothing_else(m, value, sizes):
    gramians = torch.stack([gramian(gaussian(m, m, seed)) for seed in range(3)])
    combinations = torch.stack([identity(m)] * 3)
    expected = ResidentProjector()(combinations, gramians)
    gramians[1, 0, 1] = value
    combinations[2, 1, 1] = value
    found = ResidentProjector()(combinations, gramians)
    assert_close(found[0], expected[0])
    assert bool(found[1].isnan().all())
    assert bool(found[2, 1].isnan().all())


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
def test_problems_that_are_nan_leave_the_others_alone(m, sizes):
    C = torch.corrcoef(gaussian(m, 2 * m)).expand(2, m, m)
    expected = solve_on_device(C, C, 1e-15, None)
    Q = C.clone()
    Q[1, 2] = torch.nan
    found = solve_on_device(C, Q, 1e-15, None)
    others = torch.arange(m) != 2
    assert_close(found[0], expected[0])
    assert_close(found[1, others], expected[1, others])


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
def test_float32_arithmetic_is_enough_where_there_is_no_other(m, sizes):
    C = torch.corrcoef(conflicting(m, 3 * m))
    expected = solve_on_device(C, C, 1e-15, None)
    found = solve_on_device(C.float(), C.float(), m * 1e-7, None)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.max())


def test_the_interior_point_method_neither_stalls_nor_cycles(monkeypatch):
    # Two problems on which plain predictor-corrector steps do.
    monkeypatch.setattr(_on_device, "_SMALL", 0)
    for number in (309, 678):
        matrix = nasty_problem(number).matrix
        for iterations in (20, 27, 28):
            monkeypatch.setattr(_interior_point, "_ITERATIONS", iterations)
            assert_projects(matrix, slice(None))


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_gramians_never_fail(family, m, sizes):
    matrix = normalized(FAMILIES[family](m, 0)).float()
    weights = ResidentProjector()(identity(m)[:8], gramian(matrix))
    assert bool(weights.isfinite().all())
    matrix = matrix.double()
    violation = -float((weights @ gramian(matrix)).min())
    assert violation <= 1e-5 * float(weights.abs().sum(dim=1).max())


def test_a_right_and_a_wrong_start_change_nothing(sizes):
    matrix = conflicting(30, 60)
    projector = ResidentProjector()
    expected = projector.solve(identity(30), gramian(matrix))
    for start in (expected.active, ~expected.active, torch.ones(30, 30, dtype=torch.bool)):
        found = projector.solve(identity(30), gramian(matrix), start=start)
        assert_close(found.weights, expected.weights)
        assert torch.equal(found.active, expected.active)


def test_damping_moves_the_solution():
    matrix = conflicting(4, 6)
    damped = ResidentProjector(damping=0.5)(identity(4), gramian(matrix))
    by_hand = gramian(matrix) + 0.5 * torch.diag(gramian(matrix).diagonal())
    assert_close(damped, ResidentProjector()(identity(4), by_hand))


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
def test_compiles_without_a_graph_break(m, few_steps):
    projector = ResidentProjector()
    gramians = torch.stack([gramian(gaussian(m, m, seed)) for seed in range(2)])
    combinations = identity(m).expand(2, m, m)
    torch._dynamo.reset()
    compiled = torch.compile(projector.__call__, fullgraph=True, backend="aot_eager")
    assert_close(compiled(combinations, gramians), projector(combinations, gramians))


def assert_traced_without_values(m, device):
    gramians = torch.ones(2, m, m, device=device, dtype=torch.float64)
    combinations = torch.ones(2, 12, m, device=device, dtype=torch.float64)
    start = torch.ones(2, 12, m, device=device, dtype=torch.bool)
    found = ResidentProjector(damping=1e-3).solve(combinations, gramians, start=start, certify=True)
    assert found.weights.shape == (2, 12, m)
    assert found.weights.device.type == device
    assert found.weights.dtype == torch.float64


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
def test_nothing_is_read_on_the_host(m, few_steps):
    with FakeTensorMode():
        assert_traced_without_values(m, "cpu")


def test_a_host_read_would_be_caught():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException, match="_local_scalar_dense"):
        bool(torch.ones(2).sum() > 0)


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
def test_every_tensor_is_made_on_the_device_of_the_gramian(m, few_steps):
    assert_traced_without_values(m, "meta")


@pytest.mark.parametrize("m", METHODS.values(), ids=METHODS)
def test_the_default_device_plays_no_part(m, sizes):
    matrix = gaussian(m, m)
    combinations = identity(m)
    expected = ResidentProjector()(combinations, gramian(matrix))
    with torch.device("meta"):
        found = ResidentProjector()(combinations, gramian(matrix))
    assert torch.equal(found, expected)


def test_the_residual_tells_right_from_wrong():
    C = identity(2).expand(3, 2, 2)
    Q = torch.tensor([[-1.0, 1.0]], dtype=torch.float64).expand(3, 1, 2)
    assert (
        residual(C, Q, torch.tensor([[1.0, 0.0]]).double().expand(3, 1, 2)).tolist() == [[0.0]] * 3
    )
    for wrong in ([0.0, 0.0], [1.0, -1.0], [2.0, 0.0], [torch.nan, 0.0]):
        found = residual(C, Q, torch.tensor([wrong], dtype=torch.float64).expand(3, 1, 2))
        assert bool((found > 0.1).all())
    assert residual(C, Q, torch.full((3, 1, 2), torch.nan).double()).tolist() == [[torch.inf]] * 3


def test_the_settings_show():
    assert repr(ResidentProjector(damping=0.5)) == "ResidentProjector(damping=0.5)"
