"""Graphs are kept and freed as by `.backward()`, and gradients written as by it."""

import pytest
import torch
from torch import nn

from torchjd.autogram import Engine

from .architecture import squared, x
from .harness import MODES, Fixed, plain
from .oracle import assert_gradient, by_rows, trainable

B = 5
ROWS = x(B, 4)
every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
def test_the_graph_is_freed_unless_retained(mode):
    model = plain()
    engine = Engine(model, batch_dim=0, mode=mode)
    losses = squared(model(ROWS))
    right = by_rows(losses, trainable(model))
    for _ in range(2):
        engine.compute_gramian(losses)
    for times in (1.0, 2.0):
        weights = engine.backward(losses, Fixed(), retain_graph=True)
        assert_gradient(model, right, weights, 1e-10, times)
    engine.backward(losses, Fixed())
    assert_gradient(model, right, weights, 1e-10, 3.0)
    for again in (
        lambda: losses.sum().backward(),
        lambda: engine.compute_gramian(losses),
        lambda: engine.backward(losses, Fixed()),
    ):
        with pytest.raises(RuntimeError, match=r"second time|already been freed"):
            again()
    assert_gradient(model, right, weights, 1e-10, 3.0)


@every_mode
def test_memory_is_freed_with_the_graph(mode):
    """What the losses saved goes even while they are still referred to."""
    model = plain()
    given = ROWS.clone()
    losses = squared(model(given * 1))
    saved = losses.grad_fn.next_functions[0][0]
    Engine(model, batch_dim=0, mode=mode).backward(losses, Fixed())
    with pytest.raises(RuntimeError, match="already been freed"):
        _ = saved._saved_self


def test_what_was_changed_in_place_is_noticed():
    model = plain()
    h = model[0](ROWS).tanh()
    losses = squared(model[2](h))
    with torch.no_grad():
        h.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        Engine(model, batch_dim=0).compute_gramian(losses)


@every_mode
def test_two_graphs_that_share_a_part(mode):
    model = plain()
    engine = Engine(model, batch_dim=0, mode=mode)
    h = model[:2](ROWS)
    first, second = squared(model[2](h)), squared(model[2](h).sin())
    rights = [by_rows(losses, trainable(model)) for losses in (first, second)]
    for losses, right in zip((first, second), rights, strict=True):
        model.zero_grad()
        weights = engine.backward(losses, Fixed(), retain_graph=True)
        assert_gradient(model, right, weights, 1e-10)


def test_random_numbers_are_left_alone():
    model = plain()
    torch.random.manual_seed(5)
    before = torch.random.get_rng_state()
    Engine(model, batch_dim=0).backward(squared(model(ROWS)), Fixed())
    assert torch.equal(torch.random.get_rng_state(), before)


@every_mode
def test_sparse_gradients_stay_sparse(mode):
    """Optimizers for sparse gradients refuse others."""
    model = nn.Embedding(7, 3, sparse=True).double()
    index = torch.tensor([[0, 1], [1, 1], [6, 2]])
    engine = Engine(model, batch_dim=0, mode=mode)
    weights = engine.backward(squared(model(index)), Fixed())
    assert model.weight.grad.is_sparse
    right = by_rows(squared(model(index)), trainable(model))
    assert_gradient(model, right, weights, 1e-10)
