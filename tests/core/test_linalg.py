"""Gramians of blocks, and the order of generalized Gramians."""

import pytest
import torch

from torchjd.linalg import DualConeProjector, _blocks, flatten_gramian
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
    monkeypatch.setitem(_blocks._CHUNK, "cpu", request.param)


@pytest.mark.usefixtures("_chunked")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_blocks_have_the_gramian_and_the_combinations_of_the_whole(dtype):
    matrix = gaussian(3, 20).to(dtype)
    blocks = JacobianBlocks(list(torch.split(matrix, [4, 0, 16], dim=1)))
    wide = matrix.double()
    gramian = blocks.gramian()
    assert gramian.dtype == torch.float64
    # Exact up to float64 even where the entries are of half precision, and up to a power of two.
    factor = gramian[0, 0] / (wide[0] @ wide[0])
    assert float(torch.frexp(factor).mantissa - 0.5) == pytest.approx(0.0, abs=1e-12)
    assert torch.allclose(gramian, factor * wide @ wide.T, rtol=1e-12)
    weights = torch.tensor([0.5, -2.0, 3.0])
    parts = blocks.combine(weights)
    assert [p.dtype for p in parts] == [dtype] * 3
    assert_close(torch.cat(parts), weights.double() @ wide)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1.0, 1e30, 1e160, 1e300])
def test_float64_gramians_neither_under_nor_overflow(scale):
    matrix = gaussian(3, 8)
    gramian = JacobianBlocks([scale * matrix]).gramian()
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
