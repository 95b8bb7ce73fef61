"""Gramians of blocks, and the order of generalized Gramians."""

import pytest
import torch

from torchjd.linalg import (
    DualConeProjector,
    _widening,
    cross_gramian,
    flatten_gramian,
    kkt_residual,
)
from torchjd.linalg._blocks import JacobianBlocks
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 4)])
def test_a_generalized_gramian_is_flattened_in_the_order_of_the_losses(shape):
    losses = torch.arange(float(torch.tensor(shape).prod())).view(shape)
    jacobian = gaussian(losses.numel(), 5).view(*shape, 5)
    letters, others = "abc"[: len(shape)], "xyz"[: len(shape)]
    gramian = torch.einsum(f"{letters}n,{others}n->{letters}{others[::-1]}", jacobian, jacobian)
    flat = jacobian.flatten(0, -2)
    assert_close(flatten_gramian(gramian), flat @ flat.T)


@pytest.fixture(params=[7, 1 << 18], ids=["many chunks", "one chunk"])
def _chunked(request, monkeypatch):
    monkeypatch.setitem(_widening._CHUNK, "cpu", request.param)


@pytest.mark.usefixtures("_chunked")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_blocks_have_the_gramian_and_the_combinations_of_the_whole(dtype):
    matrix = gaussian(3, 20).to(dtype)
    blocks = JacobianBlocks(list(torch.split(matrix, [4, 0, 16], dim=1)))
    wide = matrix.double()
    gramian = blocks.gramian()
    assert gramian.dtype == torch.float64
    assert torch.allclose(gramian, wide @ wide.T, rtol=1e-12)  # even where entries are narrow
    weights = torch.tensor([0.5, -2.0, 3.0])
    parts = blocks.combine(weights)
    assert [p.dtype for p in parts] == [dtype] * 3
    assert_close(torch.cat(parts), weights.double() @ wide)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1.0, 1e30, 1e160, 1e300])
def test_float64_gramians_neither_under_nor_overflow(scale):
    matrix = gaussian(3, 8)
    blocks = JacobianBlocks([scale * matrix])
    gramian = blocks.gramian(blocks.scale())
    expected = matrix @ matrix.T
    assert_close(gramian / gramian.trace(), expected / expected.trace())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_stays_so(value, dtype):
    matrix = torch.ones(2, 3, dtype=dtype)
    matrix[0, 1] = value
    assert not torch.isfinite(JacobianBlocks([matrix]).gramian()).all()


def test_no_columns():
    blocks = JacobianBlocks([torch.zeros(2, 0)])
    assert torch.equal(blocks.gramian(), torch.zeros(2, 2, dtype=torch.float64))
    assert blocks.combine(torch.ones(2))[0].shape == (0,)


def test_a_projector_must_be_implemented():
    with pytest.raises(TypeError, match=r"abstract method '?__call__"):
        DualConeProjector()


class Clamped(DualConeProjector):
    """Not the projection, but of its interface."""

    def __call__(self, U, G):
        return U.clamp_min(0.0) + 1.0


def test_a_projector_of_strangers_needs_one_method_only():
    U, G = torch.eye(2), torch.eye(2)
    found = Clamped().solve(U, G, start=U > 0, certify=True)
    assert torch.equal(found.weights, U + 1.0)
    assert bool(found.active.all())
    assert found.residual.complementarity.tolist() == [2.0, 2.0]
    assert Clamped().solve(U, G).residual is None
    assert Clamped().project_rows(torch.tensor([1.0, 0.0]), G).tolist() == [3.0, 2.0]


# Rows (1, 0) and (-1, 1): the first is projected to (1/2, 1/2), the second onto itself.
GRAMIAN = torch.tensor([[1.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)
ROWS = torch.eye(2, dtype=torch.float64)
RIGHT = torch.tensor([[1.0, 0.5], [1.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_right_weights_have_no_residual(scale):
    found = kkt_residual(ROWS, scale * GRAMIAN, RIGHT)
    assert all(part.tolist() == [0.0, 0.0] for part in found)


@pytest.mark.parametrize(
    ("weights", "primal", "dual", "complementarity"),
    [
        ([1.0, 0.0], 1.0 / 2**0.5, 0.0, 0.0),  # conflicts with the second row
        ([0.5, 0.25], 0.0, 0.5, 0.125),  # half of the first row itself is missing
        ([1.0, 1.0], 0.0, 0.0, 1.0),  # too much of the second row
    ],
)
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_each_residual_has_its_meaning(weights, primal, dual, complementarity, scale):
    weights = torch.tensor([weights], dtype=torch.float64)
    found = kkt_residual(scale * ROWS[:1], GRAMIAN, scale * weights)
    expected = torch.tensor([[primal], [dual], [complementarity]], dtype=torch.float64)
    assert_close(torch.stack(found), expected)


def test_residuals_of_batches_and_of_zero_rows():
    gramians = torch.stack([GRAMIAN, torch.zeros(2, 2), torch.diag(torch.tensor([1.0, 0.0]))])
    found = kkt_residual(ROWS.expand(3, 2, 2), gramians, torch.stack([RIGHT, ROWS, ROWS]))
    assert all(part.tolist() == [[0.0, 0.0]] * 3 for part in found)


def test_residuals_count_the_damping():
    damped = GRAMIAN + 0.1 * torch.diag(GRAMIAN.diagonal())
    assert float(kkt_residual(ROWS, GRAMIAN, RIGHT, damping=0.1).complementarity.max()) > 0.01
    v = torch.tensor([[1.0, 1.0 / 2.2]], dtype=torch.float64)
    for part in (kkt_residual(ROWS[:1], damped, v), kkt_residual(ROWS[:1], GRAMIAN, v, 0.1)):
        assert max(float(residual) for residual in part) < 1e-15


@pytest.mark.parametrize("argument", range(3))
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_residuals_of_what_is_not_finite_are_nan(argument, value):
    arguments = [ROWS.clone(), GRAMIAN.clone(), RIGHT.clone()]
    arguments[argument][0, 0] = value
    found = kkt_residual(*arguments)
    assert all(bool(part[0].isnan()) for part in found)


def test_the_gramian_across_batches_is_that_of_the_whole_jacobians():
    first, second = gaussian(3, 10, seed=1), gaussian(3, 10, seed=2)
    pieces = [[J[:, :4].reshape(3, 2, 2), J[:, 4:]] for J in (first, second)]
    assert_close(cross_gramian(*pieces), first @ second.T)
    narrow = [[piece.bfloat16() for piece in pieces_of] for pieces_of in pieces]
    found = cross_gramian(*narrow)
    assert found.dtype == torch.float64
    wide = [torch.cat([p.double().reshape(3, -1) for p in ps], dim=1) for ps in narrow]
    assert_close(found, wide[0] @ wide[1].T)


@pytest.mark.parametrize(
    ("first", "second", "error", "match"),
    [
        ([], [], ValueError, "`first` and `second` must have one tensor for each parameter"),
        ([torch.ones(2, 3)], [], ValueError, "Got 1 and 0"),
        (
            [torch.ones(2, 3)],
            [torch.ones(2, 4)],
            ValueError,
            r"same shape .* Got \[2, 3\] and \[2, 4\]",
        ),
        ([torch.ones(0, 3)], [torch.ones(0, 3)], ValueError, "same shape"),
        ([torch.ones(2, 3)], [[1.0]], TypeError, r"`second\[0\]` must be a floating-point tensor"),
        ([torch.ones(2, 3).int()], [torch.ones(2, 3)], TypeError, r"`first\[0\]`.*int32"),
    ],
)
def test_jacobians_that_do_not_fit_are_refused(first, second, error, match):
    with pytest.raises(error, match=match):
        cross_gramian(first, second)
