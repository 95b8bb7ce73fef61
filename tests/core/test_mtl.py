"""Multi-task models of every shape: shared Jacobian and head gradients against the oracle."""

import warnings
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from torchjd.autojac import mtl_backward
from torchjd.testing import numerical_jacobian

X = torch.linspace(-1.0, 1.0, 8, dtype=torch.float64).view(4, 2)


class Forward(NamedTuple):
    """One forward pass: the features, and a loss for each task."""

    features: list[Tensor]
    losses: list[Tensor]


def two_heads(trunk, first, second):
    f = (X @ trunk).tanh()
    return Forward([f], [(f @ first).pow(2).mean(), (f @ second).exp().mean()])


def shared_neck(trunk, neck, first, second):
    f = (X @ trunk).tanh()
    n = (f @ neck).sin()
    return Forward([f], [(n @ first).sum(), (n @ second).pow(2).sum()])


def several_features(trunk, deep, first, second):
    f, g = (X @ trunk).tanh(), X @ deep
    return Forward([f, g], [(f @ first).sum(), (f * g @ second).pow(2).sum()])


def nested_features(trunk, deep, first, second):
    f = (X @ trunk).tanh()
    g = (f @ deep).sin()
    return Forward([f, g], [(f @ first + g @ first).pow(2).sum(), (g @ second).sum()])


def bypassed_features(trunk, deep, first, second):
    h = (X @ trunk).tanh()
    f = (h @ deep).sin()
    return Forward([f], [(f @ first).pow(2).sum(), (f @ second + h @ second).exp().mean()])


def split_features(trunk, first, second):
    f, skipped = (X @ torch.cat([trunk, trunk**2], dim=1)).tanh().chunk(2, dim=1)
    return Forward([f], [(f @ first).pow(2).sum(), (f @ second + skipped @ second).sum()])


def task_without_parameters(trunk, first):
    f = (X @ trunk).tanh()
    return Forward([f], [f.pow(2).mean(), (f @ first).pow(2).mean()])


def task_without_features(trunk, first, second):
    f = (X @ trunk).tanh()
    return Forward([f], [(f @ first).pow(2).sum(), second.pow(2).sum()])


def loss_is_a_feature(trunk, first):
    f = (X @ trunk).tanh().mean()
    return Forward([f], [f, (f * first).sum()])


def changed_in_place(trunk, first, second):
    f = (X @ trunk).tanh() * 1.0
    f.mul_(2.0)
    return Forward([f], [(f @ first).pow(2).sum(), (f @ second).sin().sum()])


# The shapes of the shared parameters, then those of the tasks' own, and which loss has which.
MODELS = {
    two_heads: ([(2, 3)], [(3, 1), (3, 2)], [[0], [1]]),
    shared_neck: ([(2, 3)], [(3, 3), (3, 1), (3, 2)], [[0, 1], [0, 2]]),
    several_features: ([(2, 3), (2, 3)], [(3, 1), (3, 2)], [[0], [1]]),
    nested_features: ([(2, 3), (3, 3)], [(3, 1), (3, 2)], [[0], [1]]),
    bypassed_features: ([(2, 3), (3, 3)], [(3, 1), (3, 2)], [[0], [1]]),
    split_features: ([(2, 3)], [(3, 1), (3, 2)], [[0], [1]]),
    task_without_parameters: ([(2, 3)], [(3, 1)], [[], [0]]),
    task_without_features: ([(2, 3)], [(3, 1), (3, 2)], [[0], [1]]),
    loss_is_a_feature: ([(2, 3)], [(3,)], [[], [0]]),
    changed_in_place: ([(2, 3)], [(3, 1), (3, 2)], [[0], [1]]),
}

# Where the graph can be cut at the features, several rows at a time are possible.
CLEAN = {
    two_heads,
    shared_neck,
    several_features,
    task_without_parameters,
    task_without_features,
    changed_in_place,
}


def parameters(shapes):
    generator = torch.Generator().manual_seed(len(shapes))
    return [
        torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes
    ]


@pytest.fixture(params=list(MODELS), ids=lambda model: model.__name__)
def case(request):
    model = request.param
    shared_shapes, task_shapes, owners = MODELS[model]
    shared, own = parameters(shared_shapes), parameters(task_shapes)
    expected = numerical_jacobian(lambda *p: torch.stack(model(*p).losses), [*shared, *own])
    return model, shared, own, owners, expected


def assert_written(shared, own, expected, times=1):
    jacobians, gradients = expected[: len(shared)], expected[len(shared) :]
    for parameter, right in zip(shared, jacobians, strict=True):
        assert torch.allclose(parameter.jac, times * right, rtol=1e-7, atol=1e-7)
        assert parameter.grad is None
    for parameter, right in zip(own, gradients, strict=True):
        assert torch.allclose(parameter.grad, times * right.sum(0), rtol=1e-7, atol=1e-7)
        assert not hasattr(parameter, "jac")


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_parameters_found(case, chunk_size):
    model, shared, own, _, expected = case
    features, losses = model(*shared, *own)
    with warnings.catch_warnings():
        if chunk_size is not None and model not in CLEAN:
            warnings.simplefilter("ignore", UserWarning)
        mtl_backward(losses, features, parallel_chunk_size=chunk_size)
    assert_written(shared, own, expected)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_parameters_given(case, chunk_size):
    model, shared, own, owners, expected = case
    features, losses = model(*shared, *own)
    with warnings.catch_warnings():
        if chunk_size is not None and model not in CLEAN:
            warnings.simplefilter("ignore", UserWarning)
        mtl_backward(
            losses=iter(losses),
            features=iter(features),
            tasks_params=((own[k] for k in mine) for mine in owners),
            shared_params=iter(shared),
            parallel_chunk_size=chunk_size,
        )
    assert_written(shared, own, expected)


@pytest.mark.parametrize("chunk_size", [None, 1])
def test_what_two_losses_meet_in_is_shared(case, chunk_size):
    model, shared, own, _, expected = case
    everything = [*shared, *own]
    mtl_backward(model(*everything).losses, parallel_chunk_size=chunk_size)
    several = [(jacobian.flatten(1) != 0).any(dim=1).sum() > 1 for jacobian in expected]
    meeting = [k for k, met in enumerate(several) if met]
    apart = [k for k, met in enumerate(several) if not met]
    order = [*meeting, *apart]
    assert_written(
        [everything[k] for k in meeting],
        [everything[k] for k in apart],
        [expected[k] for k in order],
    )


def test_without_features_parameters_may_be_given():
    shared, own = parameters([(2, 3)]), parameters([(3, 1), (3, 2)])
    mtl_backward(two_heads(*shared, *own).losses, shared_params=[shared[0], own[1]])
    assert own[1].jac[0].count_nonzero() == 0
    assert own[1].jac[1].count_nonzero() == own[1].numel()
    assert own[1].grad is None
    assert own[0].grad is not None


def test_without_features_all_that_one_loss_depends_on_is_shared():
    weight = torch.ones(3, requires_grad=True)
    mtl_backward([weight.sum()])
    assert torch.equal(weight.jac, torch.ones(1, 3))


def test_several_rows_at_a_time_need_features():
    shared, own = parameters([(2, 3)]), parameters([(3, 1), (3, 2)])
    with pytest.warns(UserWarning, match="one by one.*no `features` are given, at which the graph"):
        mtl_backward(two_heads(*shared, *own).losses, parallel_chunk_size=2)


def test_two_losses_out_of_one_node_share_all_below():
    weight = torch.ones(2, requires_grad=True)
    mtl_backward((weight * 3).unbind())
    assert torch.equal(weight.jac, 3 * torch.eye(2))


def test_three_times_is_three_times(case):
    model, shared, own, _, expected = case
    features, losses = model(*shared, *own)
    for keep in (True, True, False):
        mtl_backward(tensors=losses, features=features, retain_graph=keep)
    assert_written(shared, own, expected, times=3)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        mtl_backward(losses, features)
    assert_written(shared, own, expected, times=3)


def test_grad_tensors_seed_losses_of_any_shape():
    shared, own = parameters([(2, 3)]), parameters([(3, 1), (3, 2)])
    f = (X @ shared[0]).tanh()
    outputs = [f @ own[0], (f @ own[1]).exp()]
    seeds = [torch.randn_like(output) for output in outputs]

    def seeded(trunk, first, second):
        f = (X @ trunk).tanh()
        heads = [f @ first, (f @ second).exp()]
        return torch.stack([(h * seed).sum() for h, seed in zip(heads, seeds, strict=True)])

    expected = numerical_jacobian(seeded, [*shared, *own])
    mtl_backward(outputs, f, grad_tensors=seeds)
    assert_written(shared, own, expected)


def test_only_the_given_parameters_are_written():
    shared, own = parameters([(2, 3)]), parameters([(3, 1), (3, 2)])
    features, losses = two_heads(*shared, *own)
    mtl_backward(losses, features, tasks_params=[[own[0]], []], shared_params=shared)
    assert own[0].grad is not None
    assert own[1].grad is None


def test_a_head_with_sparse_gradients_keeps_them_sparse():
    table = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    trunk = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    f = X @ trunk
    rows = torch.nn.functional.embedding(torch.tensor([0, 2, 2, 4]), table, sparse=True)
    for _ in range(2):
        mtl_backward([(f * rows).sum(), f.pow(2).sum()], f, retain_graph=True)
    assert table.grad.is_sparse
    expected = torch.zeros(5, 3, dtype=torch.float64).index_add(0, torch.tensor([0, 2, 2, 4]), f)
    assert torch.allclose(table.grad.to_dense(), 2 * expected)


def test_heads_whose_gradient_is_one_tensor_own_their_storage():
    trunk = torch.ones(3, requires_grad=True)
    p, q = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    f = trunk * 2
    mtl_backward([(f + p + q).sum(), f.sum()], f)
    p.grad.mul_(5.0)
    assert torch.equal(q.grad, torch.ones(3))
    torch.nn.utils.clip_grad_norm_([p, q], 1.0)
