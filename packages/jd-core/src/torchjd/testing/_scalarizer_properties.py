"""Properties of scalarizers, as functions that raise AssertionError.

Each takes a function that makes a fresh scalarizer for a number of values, one that does with it
what a training loop does in a step, and values.
"""

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from torchjd.scalarization import Scalarizer

from ._oracles import numerical_jacobian
from ._tolerances import assert_close

Make = Callable[[int], Scalarizer]
"""Makes a fresh scalarizer for a number of values, the same each time."""

Advance = Callable[[Scalarizer, Tensor], Tensor]
"""Does one step with a scalarizer, and returns the loss."""


def advance(scalarizer: Scalarizer, values: Tensor) -> Tensor:
    """Call, then learn, as far as the scalarizer can; return the loss.

    Its parameters take a step of gradient descent. If it has a method ``update``, that gets the
    values after the step of a model; a method ``step``, which ends an epoch, is called.
    """
    loss = scalarizer(values)
    parameters = [p for p in scalarizer.parameters() if p.requires_grad]
    if parameters:
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=0.1)
    for name, arguments in {"update": [values / (1 + values)], "step": []}.items():
        if callable(method := getattr(scalarizer, name, None)):
            method(*arguments)
    return loss.detach()


def assert_scalar_and_dtype(make: Make, _: Advance, values: Tensor) -> None:
    """Assert that the result is a finite scalar of the dtype of ``values``, as in float64."""
    before = values.clone()
    loss = make(len(values))(values)
    assert loss.shape == (), f"shape {list(loss.shape)}"
    assert loss.dtype == values.dtype, f"dtype {loss.dtype}"
    assert bool(torch.isfinite(loss)), "finite values gave a loss that is not finite"
    assert torch.equal(values, before), "the values were written to"
    expected = make(len(values))(values.to(torch.float64))
    assert_close(loss, expected, scale=max(_size(expected), float(values.abs().max())))


def assert_gradient(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that the gradient by the values is that of finite differences, in float64.

    Of a fresh object, and of one that has seen a few steps.
    """
    scalarizer = make(len(values))
    for n_steps in (0, 3):
        for batch in _batches(values, n_steps):
            advance(scalarizer, batch)
        leaf = values.to(torch.float64).requires_grad_()
        (found,) = torch.autograd.grad(_called_as_copy(scalarizer, leaf), leaf)
        (expected,) = numerical_jacobian(partial(_called_as_copy, scalarizer), [leaf])
        # Differences are right to about half of the digits: float32 says how close to be.
        assert_close(found.to(torch.float32), expected[0])


def assert_layout_does_not_matter(make: Make, _: Advance, values: Tensor) -> None:
    """Assert that strided values, and values that require grad, give the same result."""
    expected = make(len(values))(values)
    spread = torch.stack([values, torch.full_like(values, torch.nan)], dim=1)[:, 0]
    for other in (spread, values.clone().requires_grad_()):
        assert_close(make(len(values))(other), expected, scale=_size(expected))


def assert_shapes_agree(make: Make, _: Advance, values: Tensor) -> None:
    """Assert that the same values in another shape give the same, or are refused.

    And that another number of values than the object is made for gives what one made for that
    number does, or is refused: never a silent broadcast.
    """
    m = len(values)
    shapes = [(1, m), (m, 1), *([(2, m // 2)] if m % 2 == 0 else []), *([()] if m == 1 else [])]
    for shape in shapes:
        _assert_same_or_refused(make(m), values.reshape(shape), make(m)(values))
    for other in (values[:1], torch.cat([values, values[:1]])):
        _assert_same_or_refused(make(m), other, make(len(other))(other))


def assert_non_finite_propagates(make: Make, _: Advance, values: Tensor) -> None:
    """Assert that NaN or infinity in any place gives a loss that is not finite, and no error."""
    for value in (torch.nan, torch.inf, -torch.inf):
        for i in range(len(values)):
            broken = values.clone()
            broken[i] = value
            loss = make(len(values))(broken)
            assert not bool(torch.isfinite(loss)), f"{value} in, a finite loss out"


def assert_permutation_invariant(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that the order of the values does not matter, as long as it stays the same."""
    m = len(values)
    for order in (torch.arange(m).flip(0), torch.arange(m).roll(1)):
        one, other = make(m), make(m)
        for batch in _batches(values, 4):
            expected, found = advance(one, batch), advance(other, batch[order])
            assert_close(found, expected, scale=_size(expected))


def assert_compiles(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that a call traces whole, with the same results and gradients, step after step."""
    torch.compiler.reset()
    own = make(len(values))
    traced = copy.deepcopy(own)
    compiled = torch.compile(traced, fullgraph=True, backend="eager")
    for batch in _batches(values, 4):
        leaf = batch.clone().requires_grad_()
        expected, found = own(leaf), compiled(leaf)
        assert_close(found, expected, scale=_size(expected))
        (right,) = torch.autograd.grad(expected, leaf)
        (gradient,) = torch.autograd.grad(found, leaf)
        assert_close(gradient, right)
        for scalarizer in (own, traced):
            advance(scalarizer, batch)


def assert_deterministic(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that fresh objects agree bit for bit, and that global random state plays no part."""
    before = torch.random.get_rng_state()
    expected = _run(make(len(values)), advance, values)
    assert torch.equal(before, torch.random.get_rng_state()), "the global generator was used"
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1234)
        again = _run(make(len(values)), advance, values)
    assert torch.equal(again, expected), "a fresh object gave another result"


def assert_copies_agree(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that deep copies and pickled copies go on as the original does."""
    original = make(len(values))
    for _ in range(2):  # before and after the first steps
        copies = [copy.deepcopy(original), pickle.loads(pickle.dumps(original))]  # noqa: S301 (own)
        expected = _run(original, advance, values)
        for other in copies:
            assert torch.equal(_run(other, advance, values), expected), "a copy went on differently"


def assert_state_round_trip(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that an object continues bit for bit from the ``state_dict`` of another.

    A fresh object, and one that has seen other values; from before the first call, from after
    several steps, and from between a call and the rest of its step.
    """
    for n_steps in (0, 1, 3):
        for is_called in (False, True):
            original, used = make(len(values)), make(len(values))
            for batch in _batches(values, n_steps):
                advance(original, batch)
            if is_called:
                original(values)
            advance(used, values.flip(0))
            for other in (make(len(values)), used):
                other.load_state_dict(copy.deepcopy(original.state_dict()))
                expected = _run(copy.deepcopy(original), advance, values)
                assert torch.equal(_run(other, advance, values), expected), (
                    "the loaded object continues differently"
                )


def assert_instances_are_separate(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that using one object does not change what another one gives."""
    expected = _run(make(len(values)), advance, values)
    one, other = make(len(values)), make(len(values))
    _run(one, advance, values.flip(0))
    assert torch.equal(_run(other, advance, values), expected), "two objects share something"


def assert_reset(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that ``reset``, where there is one, makes an object as good as new."""
    used, fresh = make(len(values)), make(len(values))
    reset = getattr(used, "reset", None)
    if reset is None:
        return
    _run(used, advance, values.flip(0))
    reset()
    _draw_as(fresh, used)
    expected = _run(fresh, advance, values)
    assert torch.equal(_run(used, advance, values), expected), "`reset` leaves something behind"


def assert_state_survives(make: Make, advance: Advance, values: Tensor) -> None:
    """Assert that a call that is refused, or with values not finite, leaves no trace."""
    touched, untouched = make(len(values)), make(len(values))
    for scalarizer in (touched, untouched):
        _run(scalarizer, advance, values.flip(0))
        scalarizer(values)
    before = copy.deepcopy(touched.state_dict())
    assert _refusal(touched, values.tolist()) is not None, "a list was not refused"
    assert before.keys() == touched.state_dict().keys(), "a refused call changed the state"
    for name, value in touched.state_dict().items():
        assert torch.equal(value, before[name]), f"a refused call changed `{name}`"
    for value in (torch.nan, torch.inf):
        broken = values.clone()
        broken[-1] = value
        touched(broken)
    _draw_as(untouched, touched)
    expected = _run(untouched, advance, values)
    found = _run(touched, advance, values)
    assert torch.equal(found, expected), "values that are not finite left a trace"


def assert_refusals(make: Make, _: Advance, values: Tensor) -> None:
    """Assert that what is no tensor of values is refused by name: TypeError or ValueError."""
    wrong: list[tuple[object, type[Exception]]] = [
        (values.tolist(), TypeError),
        (values.to(torch.int64), TypeError),
        (values.to(torch.complex64), TypeError),
        (values[:0], ValueError),
    ]
    for value, error in wrong:
        refusal = _refusal(make(len(values)), value)
        assert isinstance(refusal, error), f"{error.__name__} expected, got {refusal!r}"
        assert "`values`" in str(refusal), f"the refusal does not name `values`: {refusal}"


def _batches(values: Tensor, n: int) -> Iterator[Tensor]:
    """Yield positive values of n batches; each depends on its own entry alone."""
    for i in range(n):
        yield values * (1 + 0.25 * i * values) / (1 + i)


def _run(scalarizer: Scalarizer, advance: Advance, values: Tensor) -> Tensor:
    """Return the losses of a few steps."""
    return torch.stack([advance(scalarizer, batch) for batch in _batches(values, 4)])


def _assert_same_or_refused(scalarizer: Scalarizer, values: Tensor, expected: Tensor) -> None:
    refusal = _refusal(copy.deepcopy(scalarizer), values)
    if refusal is None:
        assert_close(scalarizer(values), expected, scale=_size(expected))
        return
    named = isinstance(refusal, ValueError) and "`values`" in str(refusal)
    assert named, f"shape {list(values.shape)} gave {refusal!r}, which does not name `values`"


def _called_as_copy(scalarizer: Scalarizer, values: Tensor) -> Tensor:
    """Return the loss; what the scalarizer remembers, or draws, stays as it is."""
    return copy.deepcopy(scalarizer)(values)


def _size(loss: Tensor) -> float:
    """Return what an error is relative to: the size of the loss, but not of a small one.

    Losses may be sums that cancel.
    """
    return max(1.0, float(loss.detach().abs()))


def _refusal(scalarizer: Scalarizer, value: object) -> Exception | None:
    try:
        scalarizer(value)  # type: ignore[arg-type]  # what is wrong is what is tried
    except Exception as error:
        return error
    return None


def _draw_as(scalarizer: nn.Module, other: nn.Module) -> None:
    """Let the generators of ``scalarizer`` continue from where those of ``other`` are."""
    for module, counterpart in zip(scalarizer.modules(), other.modules(), strict=True):
        if isinstance(getattr(counterpart, "generator", None), torch.Generator):
            module.generator = copy.deepcopy(counterpart.generator)
