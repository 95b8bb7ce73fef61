"""What the engine leaves behind: nothing. Hooks, copies, exceptions, freed graphs."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import Tensor, nn

from torchjd.autogram import Engine

from .architecture import squared, x
from .harness import MODES, Fixed, assert_step, hooks, plain

B = 5
ROWS = x(B, 4)
every_mode = pytest.mark.parametrize("mode", MODES)


class Sentinel:
    """Dies with the graph that holds it."""


class Watched(torch.autograd.Function):
    """A node that holds a sentinel, and fails when told."""

    @staticmethod
    def forward(ctx, h, sentinel, failing):
        ctx.sentinel, ctx.failing = sentinel, failing
        return h * 1

    @staticmethod
    def backward(ctx, grad):
        if ctx.failing:
            raise ArithmeticError("a custom function has failed")
        return grad, None, None


class Net(nn.Module):
    """Linear layers around a node that can be watched, or told to fail."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(0)
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.failing = False
        self.graphs: list[weakref.ref[Sentinel]] = []
        self.double()

    def forward(self, given: Tensor) -> Tensor:
        h = self.first(given)
        sentinel = Sentinel()
        self.graphs.append(weakref.ref(sentinel))
        h = Watched.apply(h.tanh(), sentinel, self.failing)
        return self.last(h)

    def alive(self) -> int:
        return sum(graph() is not None for graph in self.graphs)


@every_mode
def test_nothing_is_left_on_the_model(mode):
    model = plain()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    engine = Engine(model, batch_dim=0, mode=mode)

    def weighting(gramian):
        assert hooks(model) == []  # nor in the middle of a call
        return Fixed()(gramian)

    for _ in range(2):
        losses = squared(model(ROWS))
        assert hooks(model) == []
        engine.compute_gramian(losses)
        assert hooks(model) == []
        engine.backward(losses, weighting)
        assert hooks(model) == []
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


@every_mode
def test_graphs_are_not_kept(mode):
    model = Net()
    engine = Engine(model, batch_dim=0, mode=mode)
    gc.disable()  # a cycle would keep activations until the collector happens to run
    try:
        for _ in range(3):
            losses = squared(model(ROWS))  # never given to the engine
            losses = squared(model(ROWS))
            engine.compute_gramian(losses)
            losses = squared(model(ROWS))
            engine.backward(losses, Fixed())
            losses = squared(model(ROWS))
            engine.compute_gramian(losses)
            losses.backward(torch.ones_like(losses))
            del losses
            assert model.alive() == 0
    finally:
        gc.enable()


@every_mode
def test_forwards_that_are_never_given_to_the_engine(mode):
    model = plain()
    engine = Engine(model, batch_dim=0, mode=mode)
    for _ in range(3):
        squared(model(ROWS))
        squared(model(ROWS)).sum().backward()
        with torch.no_grad():
            model(ROWS)
        assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
def test_what_is_returned_holds_no_graph(mode):
    model = plain()
    engine = Engine(model, batch_dim=0, mode=mode)
    gramian = engine.compute_gramian(squared(model(ROWS)))
    assert not gramian.requires_grad
    engine.backward(squared(model(ROWS)), Fixed())
    assert not any(p.grad.requires_grad for p in model.parameters())


@every_mode
def test_gradients_own_their_storage(mode):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3)).double()
    engine = Engine(model, batch_dim=0, mode=mode)
    for _ in range(3):
        engine.backward(squared(model(ROWS)), Fixed())
    pointers = [p.grad.untyped_storage().data_ptr() for p in model.parameters()]
    assert len(set(pointers)) == len(pointers)


@every_mode
@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("custom function", "compute_gramian"),
        ("custom function", "backward"),
        ("tensor hook", "compute_gramian"),
        ("tensor hook", "backward"),
        ("weighting", "backward"),
    ],
)
def test_an_exception_in_the_middle(where, call, warm, mode):
    model = Net()
    engine = Engine(model, batch_dim=0, mode=mode)
    if warm:
        engine.backward(squared(model(ROWS)), Fixed())
    before = [p.grad if p.grad is None else p.grad.clone() for p in model.parameters()]

    def fail(_):
        raise ArithmeticError("a hook or weighting has failed")

    model.failing = where == "custom function"
    y = model(ROWS)
    if where == "tensor hook":
        y.register_hook(fail)
    more = (fail if where == "weighting" else Fixed(),) if call == "backward" else ()
    with pytest.raises(ArithmeticError, match="has failed"):
        getattr(engine, call)(squared(y), *more)
    model.failing = False
    for p, right in zip(model.parameters(), before, strict=True):
        assert p.grad is None if right is None else torch.equal(p.grad, right)
    assert hooks(model) == []
    del y
    if model.alive():  # the traceback is a cycle: it alone may need the collector
        gc.collect()
    assert model.alive() == 0
    assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
def test_copies_of_the_model(mode):
    """Before, between and after calls: they share nothing with the engine."""
    model = plain()
    copies = [copy.deepcopy(model)]
    engine = Engine(model, batch_dim=0, mode=mode)
    copies.append(copy.deepcopy(model))
    losses = squared(model(ROWS))
    copies.append(copy.deepcopy(model))
    copies.append(pickle.loads(pickle.dumps(model)))
    engine.compute_gramian(losses)
    copies.append(copy.deepcopy(model))
    copies.append(pickle.loads(pickle.dumps(model)))
    engine.backward(losses, Fixed())
    model.zero_grad()
    copies.append(copy.deepcopy(model))
    copies.append(pickle.loads(pickle.dumps(model)))
    for twin in copies:
        assert hooks(twin) == []
        assert_step(
            Engine(twin, batch_dim=0, mode=mode), twin, lambda twin=twin: squared(twin(ROWS))
        )
    assert all(p.grad is None for p in model.parameters())
    assert_step(engine, model, lambda: squared(model(ROWS)))
