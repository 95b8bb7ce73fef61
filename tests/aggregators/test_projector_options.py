"""What projectors can be told: damping, a start, a certificate; and warm starts of methods."""

import copy

import pytest
import torch

from jd_aggregators import (
    ActiveSetProjector,
    DualProj,
    DualProjWeighting,
    ExactProjector,
    ResidentProjector,
    UPGrad,
    UPGradWeighting,
)
from torchjd import Stateful
from torchjd.testing import assert_close
from torchjd.testing.matrices import conflicting, gaussian, of_rank, with_zero_rows

PROJECTORS = [ActiveSetProjector, ExactProjector, ResidentProjector]
MANY = 40
"""More rows than numpy gets: here the sets of a last call are made use of."""


def identity(m):
    return torch.eye(m, dtype=torch.float64)


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize("m", [3, 9, MANY])
def test_damping_adds_to_the_diagonal(projector, m):
    matrix = conflicting(m, 2 * m)
    gramian = matrix @ matrix.T
    damped = projector(damping=0.3)(identity(m), gramian)
    by_hand = gramian + 0.3 * torch.diag(gramian.diagonal())
    assert_close(damped, projector()(identity(m), by_hand))


@pytest.mark.parametrize("projector", PROJECTORS)
def test_damping_can_be_changed(projector):
    solver = projector(damping=1)
    assert solver.damping == 1.0
    solver.damping = 0.25
    assert repr(solver) == f"{projector.__name__}(damping=0.25)"
    assert repr(projector()) == f"{projector.__name__}()"


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-0.1, ValueError, r"`damping` must be finite and at least 0\. Got -0\.1"),
        (float("nan"), ValueError, r"`damping` must be finite and at least 0\. Got nan"),
        (float("inf"), ValueError, r"`damping` must be finite and at least 0\. Got inf"),
        ("1", TypeError, r"`damping` must be a real number\. Got str"),
        (True, TypeError, r"`damping` must be a real number\. Got bool"),
    ],
)
def test_what_is_no_damping_is_refused(projector, value, error, message):
    with pytest.raises(error, match=message):
        projector(damping=value)
    solver = projector(damping=0.5)
    with pytest.raises(error, match=message):
        solver.damping = value
    assert solver.damping == 0.5


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize("m", [1, 3, 12, MANY])
def test_rows_are_projected_and_added(projector, m):
    p = torch.linspace(0.0, 2.0, m, dtype=torch.float64)
    for matrix in (conflicting(m, 2 * m), of_rank(m, 2 * m, 2), with_zero_rows(m, 3)):
        gramian = matrix @ matrix.T
        expected = projector()(torch.diag(p), gramian).sum(0) @ matrix
        found = projector().project_rows(p, gramian)
        assert found.shape == (m,)
        assert_close(found @ matrix, expected, scale=float(matrix.norm()))


@pytest.mark.parametrize("projector", PROJECTORS)
def test_rows_of_a_batch_are_projected_and_added(projector):
    gramians = torch.stack([gaussian(4, 6, seed) for seed in range(3)])
    gramians = gramians @ gramians.mT
    p = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = projector().project_rows(p, gramians)
    for i in range(3):
        assert_close(found[i], projector().project_rows(p[i], gramians[i]))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("zero", [False, True])
def test_rows_that_are_not_finite_give_nan(value, zero):
    gramian = identity(4)
    if zero:
        gramian[3, 3] = 0.0
    gramian[1, 2] = value
    assert bool(ExactProjector().project_rows(torch.ones(4), gramian).isnan().all())


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize("m", [2, 9, MANY])
def test_a_solution_is_certified(projector, m):
    matrix = conflicting(m, 3 * m)
    gramian = matrix @ matrix.T
    found = projector(damping=0.01).solve(identity(m), gramian, certify=True)
    assert max(float(part.max()) for part in found.residual) < 1e-12
    assert all(part.shape == (m,) for part in found.residual)
    assert torch.equal(found.active, found.weights > identity(m))
    assert projector().solve(identity(m), gramian).residual is None


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize(
    "start", [torch.zeros(3, 3), torch.zeros(3, 4, dtype=torch.bool), torch.zeros(3).bool()]
)
def test_a_start_of_another_shape_is_refused(projector, start):
    with pytest.raises(ValueError, match=r"`start` must be of dtype bool and of the shape of `U`"):
        projector().solve(identity(3), identity(3), start=start)


@pytest.mark.parametrize("m", [5, MANY])
@pytest.mark.parametrize("method", [UPGrad, DualProj])
def test_a_warm_start_changes_no_answer(method, m):
    cold, warm = method(), method(warm_start=True)
    for seed in range(4):
        for matrix in (conflicting(m, 2 * m) + 0.01 * gaussian(m, 2 * m, seed), of_rank(m, m, 2)):
            assert_close(warm(matrix), cold(matrix), scale=float(matrix.norm()))


@pytest.mark.parametrize("weighting", [UPGradWeighting, DualProjWeighting])
def test_the_state_of_a_warm_start_loads_into_a_fresh_object(weighting):
    gramians = [m @ m.T for m in (conflicting(MANY, 60), conflicting(MANY, 60, seed=1))]
    original = weighting(warm_start=True)
    assert not original.state_dict()
    original(gramians[0])
    state = copy.deepcopy(original.state_dict())
    assert list(state) == ["_active"]
    fresh = weighting(warm_start=True)
    fresh.load_state_dict(state)
    assert torch.equal(fresh(gramians[1]), original(gramians[1]))
    fresh.load_state_dict(weighting(warm_start=True).state_dict())
    assert not fresh.state_dict()


def test_a_state_without_a_use_is_refused():
    warm = UPGradWeighting(warm_start=True)
    warm(identity(3))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        UPGradWeighting().load_state_dict(warm.state_dict())


def test_another_number_of_rows_drops_the_sets():
    warm = UPGradWeighting(warm_start=True)
    for m in (5, MANY, 3):
        gramian = conflicting(m, 9) @ conflicting(m, 9).T
        assert_close(warm(gramian), UPGradWeighting()(gramian))
        assert warm.state_dict()["_active"].shape == (m, m)


def test_what_is_not_finite_leaves_the_sets_alone():
    warm = UPGradWeighting(warm_start=True)
    gramian = conflicting(4, 9) @ conflicting(4, 9).T
    warm(gramian)
    before = warm.state_dict()["_active"].clone()
    assert bool(before.any())
    assert bool(warm(gramian * torch.nan).isnan().all())
    assert torch.equal(warm.state_dict()["_active"], before)


def test_the_sets_can_be_forgotten():
    warm = UPGrad(warm_start=True)
    assert isinstance(warm, Stateful)
    warm(gaussian(3, 4))
    warm.reset()
    assert not warm.state_dict()
    warm(gaussian(3, 4))
    warm.warm_start = False
    assert not warm.state_dict()
    with pytest.raises(TypeError, match=r"`warm_start` must be a bool\. Got int"):
        warm.warm_start = 1
    assert "warm_start=True" in repr(UPGrad(warm_start=True))
    assert repr(UPGrad()) == "UPGrad()"


@pytest.mark.parametrize("weighting", [UPGradWeighting, DualProjWeighting])
@pytest.mark.parametrize("m", [4, 12])
def test_weightings_compile_as_a_whole(weighting, m):
    gramian = conflicting(m, 20) @ conflicting(m, 20).T
    torch._dynamo.reset()
    compiled = torch.compile(weighting(), fullgraph=True, backend="aot_eager")
    assert_close(compiled(gramian), weighting()(gramian))
