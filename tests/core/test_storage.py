"""What is written, where, and that it is all or nothing."""

import gc
import threading
import weakref

import pytest
import torch

from torchjd.aggregation import Aggregator, MatrixWeighting, WeightedAggregator
from torchjd.autojac import backward, jac, jac_to_grad, mtl_backward


class HalfWeighting(MatrixWeighting):
    def forward(self, matrix, /):
        return torch.full((len(matrix),), 0.5, dtype=matrix.dtype)


class Broken(Aggregator):
    def forward(self, matrix, /):
        raise ArithmeticError("no solution")


@pytest.fixture
def w():
    return torch.tensor([1.0, 2.0, 3.0], requires_grad=True)


def test_three_times_is_three_times_even_of_expanded_gradients():
    p, q = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    for _ in range(3):
        backward([(p + q).sum()], inputs=[p, q], parallel_chunk_size=1)
    assert torch.equal(p.jac, torch.full((1, 3), 3.0))
    assert torch.equal(q.jac, torch.full((1, 3), 3.0))
    for _ in range(3):
        jac_to_grad([p, q], WeightedAggregator(HalfWeighting()), retain_jac=True)
    assert torch.equal(p.grad, torch.full((3,), 4.5))
    assert torch.equal(q.grad, p.grad)
    assert float(torch.nn.utils.clip_grad_norm_([p, q], 1.0)) == pytest.approx(4.5 * 6**0.5)
    assert float(torch.cat([p.grad, q.grad]).norm()) == pytest.approx(1.0, abs=1e-5)


def test_every_tensor_owns_its_storage(w):
    v = torch.ones(3, requires_grad=True)
    first, second = jac([(w + v).sum(), (w * v).sum()], [w, v])
    backward([(w + v).sum(), (w * v).sum()], inputs=[w, v])
    jac_to_grad([w, v], WeightedAggregator(HalfWeighting()), retain_jac=True)
    tensors = [first, second, w.jac, v.jac, w.grad, v.grad]
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == 6
    for tensor in tensors:
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4
        assert not tensor.requires_grad


def test_an_old_jacobian_is_not_written_in_place(w):
    backward([w.sum()])
    old = w.jac
    backward([w.sum()])
    assert torch.equal(old, torch.ones(1, 3))
    assert torch.equal(w.jac, torch.full((1, 3), 2.0))


def test_an_existing_grad_is_accumulated_in_place(w):
    w.grad = torch.ones(3)
    held = w.grad
    backward([w.sum()])
    jac_to_grad([w], WeightedAggregator(HalfWeighting()))
    assert w.grad is held
    assert torch.equal(held, torch.full((3,), 1.5))


def test_an_expanded_grad_is_replaced(w):
    w.grad = torch.ones(1).expand(3)
    backward([w.sum()])
    jac_to_grad([w], WeightedAggregator(HalfWeighting()))
    assert torch.equal(w.grad, torch.full((3,), 1.5))
    w.grad.add_(1.0)


def test_jac_none_means_absent(w):
    w.jac = None
    backward([w.sum()])
    assert torch.equal(w.jac, torch.ones(1, 3))
    w.jac = None
    with pytest.raises(ValueError, match=r"must each have a `.jac`. Got none on tensors\[0\]"):
        jac_to_grad([w], WeightedAggregator(HalfWeighting()))


@pytest.mark.parametrize("retain", [False, True])
def test_the_jacobian_is_dropped_after_success(w, retain):
    backward([w.sum(), w.prod()])
    weights = jac_to_grad([w], WeightedAggregator(HalfWeighting()), retain_jac=retain)
    assert torch.equal(weights, torch.tensor([0.5, 0.5]))
    assert torch.equal(w.grad, torch.tensor([3.5, 2.0, 1.5]))
    assert hasattr(w, "jac") == retain


def test_a_failed_aggregation_changes_nothing(w):
    backward([w.sum(), w.prod()])
    before, w.grad = w.jac, torch.ones(3)
    with pytest.raises(ArithmeticError, match="no solution"):
        jac_to_grad([w], Broken())
    assert w.jac is before
    assert torch.equal(w.grad, torch.ones(3))


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_another_number_of_rows_is_refused_before_anything(first, second):
    p, q = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    backward([q.sum()] * first, inputs=[q])
    with pytest.raises(ValueError, match=rf"`inputs\[1\].jac` must have shape \[{second}, 2\]"):
        backward([p.sum() + q.sum()] * second, inputs=[p, q])
    assert not hasattr(p, "jac")
    assert torch.equal(q.jac, torch.ones(first, 2))


class FailsInRow(torch.autograd.Function):
    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        FailsInRow.calls += 1
        if FailsInRow.calls % 2 == 0:
            raise ArithmeticError("in the second row")
        return grad


@pytest.mark.parametrize("chunk_size", [None, 1])
def test_an_exception_in_a_row_changes_nothing(chunk_size):
    FailsInRow.calls = 0
    trunk, head = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    hook_calls = []
    trunk.register_hook(hook_calls.append)
    f = FailsInRow.apply(trunk * 2)
    losses = [(f * head).sum(), f.sum()]
    with pytest.raises(ArithmeticError, match="in the second row"):
        mtl_backward(losses, f, parallel_chunk_size=chunk_size)
    for parameter in (trunk, head):
        assert parameter.grad is None
        assert not hasattr(parameter, "jac")
    assert len(trunk._backward_hooks) == 1


def test_hooks_on_inputs_see_ordinary_gradients(w):
    seen = []
    w.register_hook(lambda grad: seen.append(grad.tolist()))
    losses = w * torch.arange(3.0)
    backward(losses.repeat(4))
    assert len(seen) == 12
    assert seen[1] == [0.0, 1.0, 0.0]


def test_a_hook_may_change_the_gradient(w):
    w.register_hook(lambda grad: 2 * grad)
    backward([w.sum(), w.prod()])
    assert torch.equal(w.jac, torch.tensor([[2.0] * 3, [12.0, 6.0, 4.0]]))


def test_a_retained_grad_is_the_sum_over_the_rows(w):
    h = 2 * w
    h.retain_grad()
    backward([h.sum(), (h * h).sum()])
    assert torch.equal(h.grad, 1 + 2 * h.detach())


def test_the_graph_is_freed_unless_retained(w):
    losses = [w.exp().sum(), w.exp().prod()]
    backward(losses, retain_graph=True)
    backward(losses)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        backward(losses)
    assert torch.equal(w.jac[0], 2 * w.detach().exp())


@pytest.mark.parametrize("chunk_size", [1, 2, 20])
def test_the_graph_is_freed_after_batches(w, chunk_size):
    losses = w.exp().repeat(3)
    backward(losses, parallel_chunk_size=chunk_size)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        backward(losses, parallel_chunk_size=chunk_size)


def test_each_loss_of_its_own_graph_is_freed(w):
    v = torch.ones(2, requires_grad=True)
    losses = [w.exp().sum(), v.exp().sum()]
    backward(losses)
    for loss in losses:
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()


def test_nothing_leaks_over_200_iterations():
    trunk, head = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    parameters = list(trunk.parameters())
    alive = weakref.WeakSet()

    def step():
        f = trunk(torch.ones(5, 3))
        alive.add(f)
        mtl_backward([head(f).sum(), head(f).pow(2).mean()], f)
        jac_to_grad(parameters, WeightedAggregator(HalfWeighting()))

    step()
    gc.collect()
    before = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    gc.disable()  # what is freed must be freed without the collector of cycles
    try:
        for _ in range(200):
            step()
        assert len(alive) == 0
    finally:
        gc.enable()
    after = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    assert after <= before + 2


def test_two_threads_train_two_models():
    def train(seed, results):
        generator = torch.Generator().manual_seed(seed)
        w = torch.randn(4, 3, generator=generator).requires_grad_()
        x = torch.randn(16, 4, generator=generator)
        for _ in range(30):
            backward((x @ w).tanh().pow(2).mean(dim=1), inputs=[w])
            jac_to_grad([w], WeightedAggregator(HalfWeighting()))
            with torch.no_grad():
                w -= 0.1 * w.grad
            w.grad = None
        results[seed] = w.detach()

    alone, together = {}, {}
    for seed in (0, 1):
        train(seed, alone)
    threads = [threading.Thread(target=train, args=(seed, together)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(alone[seed], together[seed]) for seed in (0, 1))


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_grad_mode_does_not_matter(w, context):
    losses = [w.sum(), w.prod()]
    with context():
        backward(losses)
        jac_to_grad([w], WeightedAggregator(HalfWeighting()))
    assert torch.equal(w.grad, torch.tensor([3.5, 2.0, 1.5]))
    assert not w.grad.requires_grad
