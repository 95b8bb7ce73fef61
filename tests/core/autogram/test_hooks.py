"""Hooks of the user, on parameters, modules and hidden tensors, work as in `.backward()`."""

import pytest
import torch

from torchjd.autogram import Engine

from .architecture import squared, x
from .harness import MODES, Fixed, assert_step, plain
from .oracle import assert_gradient, assert_gramian, by_rows, relative_error, trainable

B = 5
ROWS = x(B, 4)
every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
@pytest.mark.parametrize("kind", ["tensor", "post-accumulate"])
def test_hooks_on_parameters_fire_once(kind, mode):
    model = plain()
    engine = Engine(model, batch_dim=0, mode=mode)
    seen = {name: [] for name in trainable(model)}
    for name, p in trainable(model).items():
        if kind == "tensor":
            p.register_hook(lambda grad, name=name: seen[name].append(grad.clone()))
        else:
            p.register_post_accumulate_grad_hook(
                lambda p, name=name: seen[name].append(p.grad.clone())
            )
    twin = plain()
    right = by_rows(squared(twin(ROWS)), trainable(twin))
    for _ in range(2):
        losses = squared(model(ROWS))
        engine.compute_gramian(losses)
        assert all(grads == [] for grads in seen.values())
        weights = engine.backward(losses, Fixed())
        assert_gradient(model, right, weights, 1e-10)
        for name, expected in right.gradient(weights).items():
            (grad,) = seen[name]
            assert relative_error(grad, expected) < 1e-10
            seen[name].clear()
        model.zero_grad()


@every_mode
def test_a_hook_on_one_parameter_changes_its_gradient(mode):
    model, twin = plain(), plain()
    model[0].weight.register_hook(lambda grad: 2 * grad)
    right = by_rows(squared(twin(ROWS)), trainable(twin))
    weights = Engine(model, batch_dim=0, mode=mode).backward(squared(model(ROWS)), Fixed())
    model[0].weight.grad /= 2
    assert_gradient(model, right, weights, 1e-10)


@every_mode
def test_an_optimizer_in_the_backward_pass(mode):
    """Each parameter is stepped, and its gradient dropped, as soon as it is there."""
    model, twin = plain(), plain()

    def step(p):
        with torch.no_grad():
            p -= 0.1 * p.grad
        p.grad = None

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step)
    weights = Engine(model, batch_dim=0, mode=mode).backward(squared(model(ROWS)), Fixed())
    squared(twin(ROWS)).backward(weights)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert p.grad is None
        assert relative_error(p, q.detach() - 0.1 * q.grad) < 1e-10


@every_mode
def test_backward_hooks_of_modules(mode):
    model, twin = plain(), plain()
    seen = []
    model[2].register_full_backward_hook(lambda module, inner, outer: seen.append(outer[0].clone()))
    model[2].register_full_backward_pre_hook(lambda module, outer: None)
    right = by_rows(squared(twin(ROWS)), trainable(twin))
    h = twin(ROWS)
    losses = squared(h)
    engine = Engine(model, batch_dim=0, mode=mode)
    for _ in range(2):
        weighting = Fixed()
        weights = engine.backward(squared(model(ROWS)), weighting)
        assert_gramian(weighting.gramian, right, 1e-10)
        assert_gradient(model, right, weights, 1e-10)
        (cotangent,) = torch.autograd.grad(losses, h, weights, retain_graph=True)
        assert relative_error(seen[-1], cotangent) < 1e-10
        model.zero_grad()


@every_mode
def test_forward_hooks_of_modules(mode):
    model = plain()
    model[0].register_forward_hook(lambda module, given, out: out.sin())
    model[2].register_forward_pre_hook(lambda module, given: (given[0] * 2,))
    assert_step(Engine(model, batch_dim=0, mode=mode), model, lambda: squared(model(ROWS)))


@every_mode
def test_hooks_on_hidden_tensors(mode):
    """A reversed gradient is part of the function whose Jacobian is asked for."""
    model = plain()

    def forward():
        h = model[0](ROWS)
        h.register_hook(lambda grad: -0.5 * grad)
        return squared(model[1:](h))

    assert_step(Engine(model, batch_dim=0, mode=mode), model, forward)
