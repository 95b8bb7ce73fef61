"""The point of least norm in the convex hull of the rows."""

import pytest
import torch

from jd_aggregators import _min_norm
from jd_aggregators._projection import _choice, _nonnegative
from torchjd.linalg import MinNormSolver
from torchjd.testing import assert_close, examples
from torchjd.testing.matrices import conflicting, gaussian, of_rank, with_row_scales

EXAMPLES = [*examples(n_seeds=2)]
LARGE = {
    "gaussian": gaussian(60, 90),
    "one side": gaussian(60, 90) + 1.0,
    "rank 20": of_rank(60, 90, 20),
    "conflicting": conflicting(60, 90),
    "row scales": with_row_scales(60, 90, 4.0),
}


def assert_least(matrix, weights):
    """Assert Wolfe's condition: no row is on the near side of the plane through the point."""
    assert weights.shape == matrix.shape[:1]
    assert bool((weights >= 0).all())
    assert_close(weights.sum(), torch.ones(()))
    point = weights @ matrix
    lengths = matrix.norm(dim=1)
    gap = (point @ point - matrix @ point) / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
    assert float(gap.max()) <= 1e-9 * float(lengths.min())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_few_rows(example):
    matrix = example.matrix
    for scale in (1.0, 1e-30, 1e30):
        assert_least(matrix, MinNormSolver()((scale * matrix) @ (scale * matrix).T))


@pytest.mark.parametrize("family", LARGE)
def test_many_rows(family):
    assert_least(LARGE[family], MinNormSolver()(LARGE[family] @ LARGE[family].T))


@pytest.mark.parametrize("family", LARGE)
def test_without_quadprog_and_numpy(family, monkeypatch):
    monkeypatch.setattr(_nonnegative, "row_space_solver", lambda: None)
    monkeypatch.setattr(_choice, "numpy_solver", lambda: None)
    monkeypatch.setattr(_min_norm, "_solver_for_few_rows", lambda: None)
    matrix = LARGE[family][:20]
    assert_least(matrix, MinNormSolver()(matrix @ matrix.T))


@pytest.mark.parametrize("m", [2, 5, 12])
def test_the_solver_for_other_devices(m):
    torch._dynamo.reset()
    solver = torch.compile(MinNormSolver().__call__, fullgraph=True, backend="aot_eager")
    matrix = of_rank(m, 9, max(1, m // 2))
    assert_least(matrix, solver(matrix @ matrix.T))


def test_two_rows_as_on_paper():
    # The point of the segment that is nearest to the origin: w = clip((|b|^2 - ab) / |a - b|^2).
    for seed in range(20):
        a, b = gaussian(2, 3, seed)
        first = ((b @ b - a @ b) / (a - b).square().sum()).clamp(0, 1)
        rows = torch.stack([a, b])
        assert_close(MinNormSolver()(rows @ rows.T), torch.stack([first, 1 - first]), scale=1.0)


def test_batches_are_solved_one_by_one():
    gramians = torch.stack([gaussian(4, 6, seed) for seed in range(6)]).view(2, 3, 4, 6)
    gramians = gramians @ gramians.mT
    found = MinNormSolver()(gramians)
    assert found.shape == (2, 3, 4)
    for i in range(2):
        for j in range(3):
            assert torch.equal(found[i, j], MinNormSolver()(gramians[i, j]))
    assert MinNormSolver()(gramians[:0]).shape == (0, 3, 4)


def test_rows_of_zeros_share_the_weight():
    rows = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    assert MinNormSolver()(rows @ rows.T).tolist() == [0.0, 0.5, 0.0, 0.5]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_gives_nan(value):
    gramians = torch.eye(3).repeat(2, 1, 1)
    gramians[1, 0, 2] = value
    found = MinNormSolver()(gramians)
    assert_close(found[0], torch.full((3,), 1 / 3, dtype=torch.float64))
    assert bool(found[1].isnan().all())


def test_float32_gramians():
    rows = of_rank(24, 200, 3).float()
    weights = MinNormSolver()(rows @ rows.T)
    assert weights.dtype == torch.float64
    assert float((weights @ rows.double()).norm()) <= 1e-3 * float(rows.norm(dim=1).max())


@pytest.mark.parametrize("shape", [(3,), (3, 4), (0, 0), ()])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"`G` must be a Gramian, of shape \[\.\.\., m, m\]"):
        MinNormSolver()(torch.zeros(shape))


def test_it_shows():
    assert repr(MinNormSolver()) == "MinNormSolver()"
