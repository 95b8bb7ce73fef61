"""FAMO, against the algorithm of the paper with the Adam of PyTorch."""

import pytest
import torch

from torchjd import Stateful
from torchjd.scalarization import FAMO
from torchjd.testing import assert_close

EPS = 1e-8


class Literal:
    """The algorithm, a line at a time, in float64."""

    def __init__(self, shape, bounds, lr, weight_decay):
        self.w = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        self.bounds = bounds
        self.adam = torch.optim.Adam([self.w], lr=lr, weight_decay=weight_decay)

    def call(self, losses):
        self.before = losses.detach()
        z = self.w.detach().flatten().softmax(0).view(self.w.shape)
        gaps = losses - self.bounds + EPS
        c = 1 / (z / gaps.detach()).sum()
        return c * (z * gaps.log()).sum()

    def update(self, losses):
        change = (self.before - self.bounds + EPS).log() - (losses - self.bounds + EPS).log()
        z = self.w.flatten().softmax(0).view(self.w.shape)
        (self.w.grad,) = torch.autograd.grad(z, self.w, change)
        self.adam.step()


def batches(shape, n=12):
    generator = torch.Generator().manual_seed(0)
    return torch.rand((n, 2, *shape), generator=generator, dtype=torch.float64) + 0.5


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)], ids=str)
@pytest.mark.parametrize(("lr", "weight_decay"), [(0.025, 1e-3), (0.5, 0.1), (0.1, 0.0)])
@pytest.mark.parametrize("bound", [None, -0.5, 0.4])
def test_the_paper_a_line_at_a_time(shape, lr, weight_decay, bound):
    bounds = None if bound is None else torch.full(shape, bound, dtype=torch.float64)
    scalarizer = FAMO(shape, bounds, lr, weight_decay)
    literal = Literal(shape, 0.0 if bounds is None else bounds, lr, weight_decay)
    for before, after in batches(shape):
        leaf = before.clone().requires_grad_()
        found, expected = scalarizer(leaf), literal.call(leaf)
        assert_close(found, expected, scale=1.0)
        (gradient,) = torch.autograd.grad(found, leaf)
        assert_close(gradient, torch.autograd.grad(expected, leaf)[0], scale=1.0)
        # A convex combination, whatever the losses.
        assert bool((gradient > 0).all())
        assert_close(gradient.sum(), torch.ones((), dtype=torch.float64))
        scalarizer.update(after)
        literal.update(after)


def test_it_resumes_between_a_call_and_its_update():
    running = FAMO(3)
    for before, after in batches((3,)):
        assert running(before) is not None
        resumed = FAMO(3)
        resumed.load_state_dict(running.state_dict())
        for scalarizer in (resumed, running):
            scalarizer.update(after)
        assert resumed(after) == running(after)


@pytest.mark.parametrize("broken", ["before", "after"])
def test_losses_that_are_not_finite_teach_nothing(broken):
    one, other = FAMO(2), FAMO(2)
    for before, after in batches((2,)):
        for scalarizer in (one, other):
            scalarizer(before)
            scalarizer.update(after)
    spoiled = after * torch.tensor([1.0, torch.nan])
    other(spoiled if broken == "before" else before)
    other.update(after if broken == "before" else spoiled)
    for before, after in batches((2,)):
        assert one(before) == other(before)
        for scalarizer in (one, other):
            scalarizer.update(after)


def test_an_update_builds_no_graph():
    scalarizer = FAMO(2)
    parameter = torch.ones(2, requires_grad=True)
    scalarizer(2 * parameter).backward()
    scalarizer.update(parameter.square())
    assert not any(tensor.requires_grad for tensor in scalarizer.state_dict().values())
    assert list(scalarizer.parameters()) == []


def test_training_goes_on_after_inference():
    scalarizer, expected = FAMO(2), FAMO(2)
    for before, after in batches((2,)):
        with torch.inference_mode():
            scalarizer(before)
            scalarizer.update(after)
        expected(before)
        expected.update(after)
        leaf = after.clone().requires_grad_()
        (found,) = torch.autograd.grad(scalarizer(leaf), leaf)
        assert torch.equal(found, torch.autograd.grad(expected(leaf), leaf)[0])


def test_a_refused_update_changes_nothing():
    scalarizer, expected = FAMO(2), FAMO(2)
    for each in (scalarizer, expected):
        each(torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"`losses` must have the `shape` .*\[2\]. Got .*\[3\]"):
        scalarizer.update(torch.ones(3))
    with pytest.raises(TypeError, match="`losses` must be a floating-point tensor"):
        scalarizer.update([1.0, 1.0])
    with pytest.raises(TypeError, match=r"`losses` must be a floating.* Got torch.int64"):
        scalarizer.update(torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="`values` must have the `shape`"):
        scalarizer(torch.ones(3))
    for each in (scalarizer, expected):
        each.update(torch.tensor([0.5, 2.0]))
    assert scalarizer(torch.tensor([1.0, 2.0])) == expected(torch.tensor([1.0, 2.0]))


def test_an_update_must_follow_a_call():
    scalarizer = FAMO(2)
    message = "`update` must follow a call of FAMO"
    with pytest.raises(RuntimeError, match=message):
        scalarizer.update(torch.ones(2))
    scalarizer(torch.ones(2))
    scalarizer.update(torch.ones(2))
    assert isinstance(scalarizer, Stateful)
    scalarizer.reset()
    with pytest.raises(RuntimeError, match=message):
        scalarizer.update(torch.ones(2))


def test_settings_count_from_the_next_call():
    scalarizer = FAMO(2)
    scalarizer.min_losses = torch.tensor([0.5, 1.0])
    scalarizer.lr = 0.5
    expected = FAMO(2, torch.tensor([0.5, 1.0]), lr=0.5)
    for before, after in batches((2,)) + 1.0:
        assert scalarizer(before) == expected(before)
        for each in (scalarizer, expected):
            each.update(after)
    assert repr(scalarizer) == "FAMO(shape=(2,), min_losses=[0.5, 1.0], lr=0.5)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FAMO(2, lr=-1.0), ValueError, "`lr` must be finite and at least 0. Got -1.0"),
        (lambda: FAMO(2, weight_decay=-1.0), ValueError, "`weight_decay` must be .* at least 0"),
        (
            lambda: FAMO(2, [0.0, 0.0]),
            TypeError,
            "`min_losses` must be .* tensor or None. Got list",
        ),
        (lambda: FAMO(2, torch.zeros(3)), ValueError, r"`min_losses` .* \[2\]. Got shape \[3\]"),
        (lambda: FAMO("2"), TypeError, "`shape` must be an int or a sequence of ints"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
