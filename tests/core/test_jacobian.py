"""The Jacobian against dense float64 oracles, on all kinds of graph, row by row and batched."""

import warnings

import pytest
import torch

from torchjd.autojac import backward, jac
from torchjd.testing import dense_jacobian, numerical_jacobian

from .situations import BY_NAME, SITUATIONS, UNBATCHABLE, X


def oracle(situation):
    parameters = situation.parameters()
    if situation.traceable:
        return dense_jacobian(situation.function, parameters), 1e-10
    return numerical_jacobian(situation.function, parameters), 1e-7


def assert_equal(found, expected, allowed):
    size = max([1.0, *(float(e.abs().max()) for e in expected if e.numel())])
    for jacobian, right in zip(found, expected, strict=True):
        assert jacobian.shape == right.shape
        assert jacobian.is_contiguous()
        assert torch.allclose(jacobian, right, rtol=0.0, atol=allowed * size)


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 3, 100])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.name)
def test_jac(situation, chunk_size):
    expected, allowed = oracle(situation)
    parameters = situation.parameters()
    outputs = situation.function(*parameters)
    with warnings.catch_warnings():
        if situation.name in UNBATCHABLE:
            warnings.simplefilter("ignore", UserWarning)
        found = jac(outputs, parameters, parallel_chunk_size=chunk_size)
    assert_equal(found, expected, allowed)


@pytest.mark.parametrize("chunk_size", [None, 1, 3])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.name)
def test_backward_with_losses_apart(situation, chunk_size):
    expected, allowed = oracle(situation)
    parameters = situation.parameters()
    losses = list(situation.function(*parameters).reshape(-1).unbind(0))
    with warnings.catch_warnings():
        if situation.name in UNBATCHABLE:
            warnings.simplefilter("ignore", UserWarning)
        backward(iter(losses), inputs=iter(parameters), parallel_chunk_size=chunk_size)
    assert_equal([p.jac for p in parameters], expected, allowed)
    assert all(p.grad is None for p in parameters)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.name)
def test_backward_finds_the_leaves(situation):
    expected, allowed = oracle(situation)
    parameters = situation.parameters()
    backward(situation.function(*parameters))
    for parameter, right in zip(parameters, expected, strict=True):
        if getattr(parameter, "jac", None) is None:
            assert not right.any()  # not reached
        else:
            assert_equal([parameter.jac], [right], allowed)


@pytest.mark.parametrize("name", ["scalars", "matrix of objectives", "shared", "unused", "LSTM"])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_cotangents(name, chunk_size):
    situation = BY_NAME[name]
    full, allowed = oracle(situation)
    parameters = situation.parameters()
    outputs = situation.function(*parameters)
    generator = torch.Generator().manual_seed(1)
    given = torch.randn(5, *outputs.shape, generator=generator, dtype=torch.float64)
    m = outputs.numel()
    expected = [
        (given.view(5, m) @ right.reshape(m, -1)).view(5, *p.shape)
        for right, p in zip(full, parameters, strict=True)
    ]
    found = jac(
        outputs, parameters, jac_outputs=given, retain_graph=True, parallel_chunk_size=chunk_size
    )
    assert_equal(found, expected, allowed)
    backward(outputs, jac_tensors=[given], inputs=parameters, parallel_chunk_size=chunk_size)
    assert_equal([p.jac for p in parameters], expected, allowed)


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 4, 5, 16])
def test_outputs_of_several_shapes_are_concatenated(chunk_size):
    def function(w):
        h = X @ w
        return torch.cat([h.flatten(), h.sum()[None], h.prod(dim=1)])

    w = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = dense_jacobian(function, [w])
    w.requires_grad_()
    h = X @ w
    found = jac([h, h.sum(), h.prod(dim=1)], [w], parallel_chunk_size=chunk_size)
    assert_equal(found, expected, 1e-10)


def test_many_rows_of_a_small_graph_are_batched_by_themselves():
    calls = 0

    def count(grad):
        nonlocal calls
        calls += 1
        return grad

    w = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    h = X @ w
    h.register_hook(count)
    expected = dense_jacobian(lambda v: (X @ v).exp(), [w])
    assert_equal(jac(h.exp(), w), expected, 1e-10)
    assert calls == 2  # fifteen rows at a time, and the last


def test_rows_of_big_tensors_are_not_batched():
    calls = []
    w = torch.ones(1 << 16, requires_grad=True)
    h = w * 1.0
    h.register_hook(lambda grad: calls.append(grad.shape))
    jac(h[:10] * 2, w)
    assert calls == [w.shape] * 10


def test_what_is_not_finite_stays_in_its_row():
    w = torch.tensor([0.0, 4.0], requires_grad=True)
    (found,) = jac([w[0].sqrt(), w[1].sqrt()], w)
    assert not torch.isfinite(found[0]).all()
    assert torch.equal(found[1], torch.tensor([0.0, 0.25]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    a = torch.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    b = torch.tensor([3.0], requires_grad=True)  # float32 beside it
    found = jac([a.sum() * b.sum(), (a * a).sum().float()], [a, b])
    assert [f.dtype for f in found] == [dtype, torch.float32]
    assert torch.equal(found[0].float(), torch.tensor([[3.0, 3.0], [2.0, 4.0]]))
    assert torch.equal(found[1], torch.tensor([[3.0], [0.0]]))


def test_inputs_within_the_graph():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    h = 3 * w
    loss = torch.stack([h.sum(), h.prod()])
    found = jac(loss, [h, w])
    assert torch.equal(found[0], torch.tensor([[1.0, 1.0], [6.0, 3.0]]))
    assert torch.equal(found[1], 3 * found[0])
    assert torch.equal(jac(w, w)[0], torch.eye(2))
