"""Properties of aggregators as objects: determinism, copies, state, refusals."""

import copy
import pickle
from collections.abc import Callable

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Stateful

from ._feeding import call, cross_gramian_of, losses_of
from ._properties import longest_row
from ._tolerances import assert_close

Make = Callable[[int], Aggregator]
"""Makes a fresh aggregator for a number of rows, the same each time."""


def assert_deterministic(make: Make, matrix: Tensor) -> None:
    """Assert that fresh objects agree bit for bit, and that global random state plays no part."""
    m = matrix.shape[0]
    before = torch.random.get_rng_state()
    first = call(make(m), matrix)
    assert torch.equal(before, torch.random.get_rng_state()), "the global generator was used"
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1234)
        again = call(make(m), matrix)
    assert torch.equal(first, again), "a fresh object gave another result"


def assert_copies_agree(make: Make, matrix: Tensor) -> None:
    """Assert that deep copies and pickled copies go on as the original does."""
    original = make(matrix.shape[0])
    for _ in range(2):  # before and after the first call
        copies = [copy.deepcopy(original), pickle.loads(pickle.dumps(original))]  # noqa: S301 (own)
        expected = call(original, matrix)
        for other in copies:
            assert torch.equal(call(other, matrix), expected), "a copy gave another result"


def assert_state_round_trip(make: Make, matrix: Tensor) -> None:
    """Assert that a fresh object continues from a ``state_dict`` as the original does.

    From before the first call, and from after several; and likewise an object that has seen other
    matrices, whose state is replaced.
    """
    m = matrix.shape[0]
    original = make(m)
    for n_calls in (0, 1, 2):
        for i in range(n_calls):
            call(original, matrix.roll(i, 1))
        state = copy.deepcopy(original.state_dict())
        used = make(m)
        call(used, matrix.flip(1))
        for other in (make(m), used):
            other.load_state_dict(state)
            expected = copy.deepcopy(original)
            for i in range(3):
                found = call(other, matrix.roll(-i, 1))
                assert torch.equal(found, call(expected, matrix.roll(-i, 1))), (
                    "the loaded object continues differently"
                )


def assert_instances_are_separate(make: Make, matrix: Tensor) -> None:
    """Assert that calling one object does not change what another one gives."""
    m = matrix.shape[0]
    expected = call(make(m), matrix)
    one, other = make(m), make(m)
    call(one, matrix.flip(1))
    assert_close(call(other, matrix), expected, scale=longest_row(matrix))


def assert_reset(make: Make, matrix: Tensor) -> None:
    """Assert that ``reset``, where there is one, makes an object as good as new."""
    m = matrix.shape[0]
    used, fresh = make(m), make(m)
    if not isinstance(used, Stateful):
        return
    for i in range(2):
        call(used, matrix.roll(i, 1))
    used.reset()
    _draw_as(fresh, used)
    assert torch.equal(call(used, matrix), call(fresh, matrix)), "`reset` leaves something behind"


def assert_state_survives(make: Make, matrix: Tensor) -> None:
    """Assert that a matrix that is not finite, or refused, leaves what is remembered as it was."""
    aggregator = make(matrix.shape[0])
    call(aggregator, matrix)
    before = _memory(aggregator)
    for value in (torch.nan, torch.inf):
        broken = matrix.clone()
        broken[0, -1] = value
        call(aggregator, broken)
        _assert_same(_memory(aggregator), before, f"a matrix with {value}")
    _raised(aggregator, matrix[None])
    _assert_same(_memory(aggregator), before, "a refused call")


def assert_default_device_plays_no_part(make: Make, matrix: Tensor) -> None:
    """Assert that everything is computed where the matrix is, wherever new tensors go."""
    aggregator, m = make(matrix.shape[0]), matrix.shape[0]
    expected = call(make(m), matrix)
    losses, cross_gramian = losses_of(matrix), cross_gramian_of(matrix)
    with torch.device("meta"):
        found = aggregator(matrix, losses=losses, cross_gramian=cross_gramian)
    assert torch.equal(found, expected), "another default device gave another result"


def assert_recovers(make: Make, matrix: Tensor) -> None:
    """Assert that after rows near the end of float32's range ordinary ones give a finite result."""
    aggregator = make(matrix.shape[0])
    narrow = matrix.to(torch.float32)
    call(aggregator, 2.0**100 * narrow)
    found = call(aggregator, narrow)
    assert bool(torch.isfinite(found).all()), "large rows are remembered as what is not finite"


def assert_refusals(make: Make, matrix: Tensor) -> None:
    """Assert that what is no Jacobian is refused by name: TypeError or ValueError."""
    aggregator = make(matrix.shape[0])
    wrong: list[tuple[object, type[Exception]]] = [
        (matrix[0], ValueError),
        (matrix[None], ValueError),
        (matrix[:0], ValueError),
        (matrix.to(torch.int64), TypeError),
        (matrix.tolist(), TypeError),
    ]
    for value, error in wrong:
        refusal = _raised(aggregator, value)
        assert isinstance(refusal, error), f"{error.__name__} expected, got {refusal!r}"
        assert "`matrix`" in str(refusal), f"the refusal does not name `matrix`: {refusal}"


def assert_missing_inputs_are_named(make: Make, matrix: Tensor) -> None:
    """Assert that a call without an input that the method declares is refused by its name."""
    aggregator = make(matrix.shape[0])
    given = {"losses": losses_of(matrix), "cross_gramian": cross_gramian_of(matrix)}
    needed = ["losses"] if aggregator.needs_losses else []
    needed += ["cross_gramian"] if aggregator.needs == "cross gramian" else []
    for name in needed:
        others = {other: value for other, value in given.items() if other != name}
        refusal = _raised(aggregator, matrix, **others)
        assert isinstance(refusal, TypeError), f"a call without `{name}` gave {refusal!r}"
        assert f"`{name}`" in str(refusal), f"the refusal does not name `{name}`: {refusal}"


def _raised(aggregator: Aggregator, value: object, **extra: Tensor) -> Exception | None:
    try:
        aggregator(value, **extra)  # type: ignore[arg-type]  # what is wrong is what is tried
    except Exception as error:
        return error
    return None


def _memory(aggregator: Aggregator) -> dict[str, Tensor]:
    """Return what is remembered, without the state of generators: those advance at any call."""
    state = aggregator.state_dict()
    return {name: v.clone() for name, v in state.items() if not name.endswith("_extra_state")}


def _assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], after: str) -> None:
    assert found.keys() == expected.keys(), f"{after} changed the names of the state"
    for name, value in expected.items():
        assert torch.equal(found[name], value), f"{after} changed `{name}`"


def _draw_as(aggregator: Aggregator, other: Aggregator) -> None:
    """Let the generators of ``aggregator`` continue from where those of ``other`` are."""
    pairs = zip(aggregator.modules(), other.modules(), strict=True)
    for module, counterpart in pairs:
        if isinstance(getattr(counterpart, "generator", None), torch.Generator):
            module.generator = copy.deepcopy(counterpart.generator)
