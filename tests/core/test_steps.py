"""The one-call steps: equal to the two calls that they stand for."""

import pytest
import torch
from torch import nn

import torchjd
from torchjd.aggregation import (
    Aggregator,
    GramianWeightedAggregator,
    GramianWeighting,
    MatrixWeighting,
    WeightedAggregator,
)
from torchjd.autojac import backward, jac_to_grad, mtl_backward


class InverseSquare(GramianWeighting):
    def forward(self, gramian, /):
        return 1.0 / gramian.diagonal()


class InverseNorm(MatrixWeighting):
    def forward(self, matrix, /):
        return 1.0 / matrix.norm(dim=1)


class Median(Aggregator):
    def forward(self, matrix, /):
        return matrix.median(dim=0).values


AGGREGATORS = {
    "gramian": lambda: GramianWeightedAggregator(InverseSquare()),
    "matrix": lambda: WeightedAggregator(InverseNorm()),
    "no weights": Median,
}


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def batch():
    return torch.linspace(-1, 1, 15).view(5, 3)


@pytest.fixture(params=list(AGGREGATORS))
def aggregator(request):
    return AGGREGATORS[request.param]()


def grads(parameters):
    return [p.grad for p in parameters]


@pytest.mark.parametrize("given", [True, False])
def test_backward_is_both_calls(aggregator, given):
    one, other = model(), model()
    weights = torchjd.backward(one(batch()).pow(2), one.parameters() if given else None, aggregator)
    backward(other(batch()).pow(2))
    expected = jac_to_grad(other.parameters(), aggregator)
    for found, right in zip(grads(one.parameters()), grads(other.parameters()), strict=True):
        assert torch.allclose(found, right)
    assert (weights is None) == (expected is None)
    assert weights is None or torch.allclose(weights, expected)
    assert not any(hasattr(p, "jac") for p in (*one.parameters(), *other.parameters()))


def test_backward_accumulates_and_leaves_jac_alone(aggregator):
    net = model()
    first = next(iter(net.parameters()))
    first.jac = "the user's own"
    for _ in range(2):
        torchjd.backward(net(batch()).mean(0), net.parameters(), aggregator)
    once = model()
    torchjd.backward(once(batch()).mean(0), once.parameters(), aggregator)
    for twice, single in zip(grads(net.parameters()), grads(once.parameters()), strict=True):
        assert torch.allclose(twice, 2 * single)
    assert first.jac == "the user's own"


def test_cotangents_choose_the_rows(aggregator):
    one, other = model(), model()
    rows = torch.eye(5)[:2, :, None].expand(2, 5, 2)
    torchjd.backward(one(batch()), one.parameters(), aggregator, jac_tensors=rows)
    torchjd.backward(other(batch())[:2].sum(dim=1), other.parameters(), aggregator)
    for found, right in zip(grads(one.parameters()), grads(other.parameters()), strict=True):
        assert torch.allclose(found, right, atol=1e-6)


def multi_task():
    trunk = model()
    heads = [nn.Linear(2, 1), nn.Linear(2, 1)]
    f = trunk(batch())
    return trunk, heads, f, [heads[0](f).mean(), heads[1](f).pow(2).mean()]


def test_mtl_backward_is_both_calls(aggregator):
    trunk, heads, f, losses = multi_task()
    other, other_heads, g, other_losses = multi_task()
    torchjd.mtl_backward(losses, f, aggregator)
    mtl_backward(other_losses, g)
    jac_to_grad(other.parameters(), aggregator)
    modules, others = [trunk, *heads], [other, *other_heads]
    for one, two in zip(modules, others, strict=True):
        for found, right in zip(grads(one.parameters()), grads(two.parameters()), strict=True):
            assert torch.equal(found, right)


@pytest.mark.parametrize("step", ["backward", "mtl_backward"])
def test_a_failed_aggregation_writes_nothing(step):
    class Broken(Aggregator):
        def forward(self, matrix, /):
            raise ArithmeticError("no solution")

    trunk, heads, f, losses = multi_task()
    arguments = (losses, f) if step == "mtl_backward" else (losses, trunk.parameters())
    with pytest.raises(ArithmeticError, match="no solution"):
        getattr(torchjd, step)(*arguments, Broken())
    assert all(p.grad is None for module in (trunk, *heads) for p in module.parameters())


def test_an_aggregation_of_the_wrong_shape_is_refused():
    class Short(Aggregator):
        def forward(self, matrix, /):
            return matrix[0, :-1]

    net = model()
    with pytest.raises(ValueError, match=r"`Short` must return a vector of shape \[26\]. Got \[25"):
        torchjd.backward(net(batch()).mean(0), net.parameters(), Short())
    assert all(p.grad is None for p in net.parameters())


def test_parameters_of_several_dtypes(aggregator):
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    v = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    u = torch.ones((), requires_grad=True)
    losses = [w.sum() * u + v.sum(), w[0] * u - v[1].double()]
    torchjd.backward(losses, [w, v, u], aggregator)
    assert [p.grad.dtype for p in (w, v, u)] == [torch.float64, torch.bfloat16, torch.float32]
    assert u.grad.shape == ()


def test_an_aggregator_hook_sees_the_whole_jacobian():
    net, seen = model(), []
    aggregator = GramianWeightedAggregator(InverseSquare())
    quiet = [p.clone() for p in net.parameters()]
    aggregator.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    weights = torchjd.backward(net(batch()).mean(0), net.parameters(), aggregator)
    ((matrix, vector),) = seen
    assert matrix.shape == (2, sum(p.numel() for p in quiet))
    assert torch.allclose(weights @ matrix, vector, atol=1e-6)
    assert torch.equal(torch.cat([p.grad.flatten() for p in net.parameters()]), vector)


@pytest.mark.parametrize("optimize", [None, True, False])
def test_the_gramian_alone_gives_the_same(optimize):
    one, other = model(), model()
    aggregator = GramianWeightedAggregator(InverseSquare())
    for net in (one, other):
        backward(net(batch()).mean(0))
    jac_to_grad(one.parameters(), aggregator, optimize_gramian_computation=optimize)
    jac_to_grad(other.parameters(), aggregator)
    for found, right in zip(grads(one.parameters()), grads(other.parameters()), strict=True):
        assert torch.allclose(found, right)


def test_optimising_what_has_no_gramian_is_refused():
    net = model()
    backward(net(batch()).mean(0))
    with pytest.raises(ValueError, match=r"`optimize_gramian_computation=True` needs.*Got Median"):
        jac_to_grad(net.parameters(), Median(), optimize_gramian_computation=True)
    assert all(p.jac is not None for p in net.parameters())
