"""Rows that are scaled within the backward pass: the same Jacobian, within reach of float16."""

import warnings

import pytest
import torch

from torchjd.autojac import backward, mtl_backward
from torchjd.testing import assert_close

from .situations import SITUATIONS
from .test_mtl import MODELS, parameters


def powers_of_two(m):
    """Return scales far apart, by which floating-point numbers are multiplied exactly."""
    return torch.tensor([2.0 ** (7 * (-1) ** i * (i + 1)) for i in range(m)], dtype=torch.float64)


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.name)
def test_scales_leave_no_trace(situation, chunk_size):
    plain, scaled = situation.parameters(), situation.parameters()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some cannot be batched
        assert backward(situation.function(*plain), parallel_chunk_size=chunk_size) is None
        objectives = situation.function(*scaled)
        scales = powers_of_two(objectives.numel())
        finite = backward(objectives, parallel_chunk_size=chunk_size, row_scales=scales)
    assert finite.tolist() == [True] * len(scales)
    for one, other in zip(plain, scaled, strict=True):
        assert hasattr(one, "jac") == hasattr(other, "jac")
        assert not hasattr(one, "jac") or torch.equal(one.jac, other.jac)


@pytest.mark.parametrize("given", [True, False], ids=["given", "found"])
@pytest.mark.parametrize("chunk_size", [None, 1, 2])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_scales_leave_no_trace_in_tasks(model, chunk_size, given):
    shapes = [*MODELS[model][0], *MODELS[model][1]]
    plain, scaled = parameters(shapes), parameters(shapes)
    found = []
    for params, scales in ((plain, None), (scaled, powers_of_two(2))):
        features, losses = model(*params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            cut = features if given else None
            found.append(
                mtl_backward(losses, cut, parallel_chunk_size=chunk_size, row_scales=scales)
            )
    assert found[0] is None
    assert found[1].tolist() == [True, True]
    for one, other in zip(plain, scaled, strict=True):
        for kind in ("jac", "grad"):
            left, right = getattr(one, kind, None), getattr(other, kind, None)
            assert (left is None) == (right is None)
            assert left is None or torch.equal(left, right)


def test_cotangents_of_ones_own_are_scaled_too():
    weight = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    seeds = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 1.0]])
    backward(weight**2, jac_tensors=seeds, row_scales=torch.tensor([4.0, 0.5]))
    assert torch.equal(weight.jac, seeds * 2 * weight.detach())


def test_losses_of_several_elements_and_grad_tensors():
    trunk, head = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    features = trunk * 3
    losses = [features * head, features.sum()]
    seeds = [torch.tensor([1.0, 2.0]), torch.tensor(5.0)]
    mtl_backward(losses, features, grad_tensors=seeds, row_scales=torch.tensor([8.0, 0.25]))
    assert torch.equal(trunk.jac, torch.tensor([[3.0, 6.0], [15.0, 15.0]]))
    assert torch.equal(head.grad, torch.tensor([3.0, 6.0]))


@pytest.mark.parametrize("chunk_size", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale_dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rows_are_as_exact_as_their_own_dtype(dtype, scale_dtype, chunk_size):
    weight = torch.linspace(-1.0, 1.0, 5, dtype=dtype, requires_grad=True)
    head = torch.ones(5, dtype=dtype, requires_grad=True)
    features = weight.exp()
    scales = torch.tensor([3.0, 0.7, 1e-3]).to(scale_dtype)
    losses = [features.sum(), features.square().sum(), (features * head).sum()]
    mtl_backward(losses, features, row_scales=scales, parallel_chunk_size=chunk_size)
    x = weight.detach()
    expected = torch.stack([x.exp(), 2 * (2 * x).exp(), x.exp()])
    assert_close(weight.jac, expected, scale=expected.max())
    assert_close(head.grad, x.exp(), scale=expected.max())


class ThroughHalf(torch.autograd.Function):
    """Passes its gradient through float16, as an operation under autocast does."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.half().to(grad.dtype)


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_what_half_precision_would_lose_is_kept(chunk_size):
    weight = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    hidden = ThroughHalf.apply(weight)
    losses = [1e-9 * hidden.pow(2).sum(), 1e5 * hidden.sum()]
    backward(losses, retain_graph=True, parallel_chunk_size=chunk_size)
    assert weight.jac[0].count_nonzero() == 0
    assert weight.jac[1].isinf().all()
    del weight.jac
    scales = torch.tensor([2.0**30, 2.0**-10])
    finite = backward(losses, row_scales=scales, parallel_chunk_size=chunk_size)
    assert finite.tolist() == [True, True]
    expected = torch.stack([2e-9 * weight.detach(), torch.full((3,), 1e5)])
    assert torch.allclose(weight.jac, expected, rtol=1e-3, atol=0.0)


def test_rows_add_up_divided():
    weight = torch.ones(3, requires_grad=True)
    for scale in (2.0**10, 2.0**-10):
        backward([weight.sum(), 2 * weight.sum()], row_scales=torch.tensor([scale, 1.0]))
    assert torch.equal(weight.jac, torch.tensor([[2.0] * 3, [4.0] * 3]))


def test_what_overflows_is_told_by_row():
    weight = torch.ones(3, requires_grad=True)
    hidden = ThroughHalf.apply(weight)
    finite = backward(
        [hidden.sum(), hidden.sum(), weight.sum()], row_scales=torch.tensor([1.0, 2.0**17, 1.0])
    )
    assert finite.tolist() == [True, False, True]
    assert weight.jac.isfinite().all(dim=1).tolist() == [True, False, True]


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_what_overflows_in_a_head_is_told_of_its_task(chunk_size):
    trunk, head = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    features = trunk * 2
    losses = [features.sum(), (features.detach() * ThroughHalf.apply(head)).sum() + features.sum()]
    finite = mtl_backward(
        losses,
        features,
        row_scales=torch.tensor([2.0**17, 2.0**17]),
        parallel_chunk_size=chunk_size,
    )
    assert finite.tolist() == [True, False]
    assert trunk.jac.isfinite().all()
    assert not head.grad.isfinite().any()


def test_a_head_with_sparse_gradients_is_scaled():
    table = torch.ones(5, 3, requires_grad=True)
    trunk = torch.ones(3, requires_grad=True)
    features = trunk * 2
    rows = torch.nn.functional.embedding(torch.tensor([0, 2, 2]), table, sparse=True)
    scales = torch.tensor([4.0, 1.0])
    finite = mtl_backward([(features * rows).sum(), features.sum()], features, row_scales=scales)
    assert table.grad.is_sparse
    expected = torch.tensor([2.0, 0.0, 4.0, 0.0, 0.0])[:, None].expand(5, 3)
    assert torch.equal(table.grad.to_dense(), expected)
    assert finite.tolist() == [True, True]


@pytest.mark.parametrize("entry", [torch.inf, -torch.inf, torch.nan])
def test_finite_rows_are_told_however_long_they_are(entry):
    weight = torch.ones(4, requires_grad=True)
    top = torch.finfo(torch.float32).max
    seeds = torch.tensor([[top] * 4, [1.0, entry, -entry, 0.0], [-top, -top, top, top], [0.0] * 4])
    finite = backward(weight * 1, jac_tensors=seeds, row_scales=torch.ones(4))
    assert finite.tolist() == [True, False, True, True]


def test_rows_of_no_parameters_are_finite():
    weight = torch.ones(3, requires_grad=True)
    nothing = torch.ones(0, requires_grad=True)
    finite = backward(weight.unbind(), inputs=[nothing], row_scales=torch.ones(3))
    assert finite.tolist() == [True] * 3


def test_a_compiled_region_is_compared_with_rows_that_are_divided():
    import torch._functorch.config as functorch_config

    compiled = torch.compile(lambda x: (x.sin() * x).sum(), backend="aot_eager")
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    with functorch_config.patch(donated_buffer=False):
        loss = compiled(weight)
        backward([loss, loss * 2], row_scales=torch.tensor([16.0, 4.0]))
    expected = weight.detach().cos() * weight.detach() + weight.detach().sin()
    assert torch.allclose(weight.jac, torch.stack([expected, 2 * expected]))
