"""Properties of aggregators as objects: determinism, copies, state, refusals."""

import copy
import pickle
from collections.abc import Callable

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator

from ._properties import longest_row
from ._tolerances import assert_close

Make = Callable[[int], Aggregator]
"""Makes a fresh aggregator for a number of rows, the same each time."""


def assert_deterministic(make: Make, matrix: Tensor) -> None:
    """Assert that fresh objects agree bit for bit, and that global random state plays no part."""
    m = matrix.shape[0]
    before = torch.random.get_rng_state()
    first = make(m)(matrix)
    assert torch.equal(before, torch.random.get_rng_state()), "the global generator was used"
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1234)
        again = make(m)(matrix)
    assert torch.equal(first, again), "a fresh object gave another result"


def assert_copies_agree(make: Make, matrix: Tensor) -> None:
    """Assert that a deep copy and a pickled copy give what the original gives."""
    original = make(matrix.shape[0])
    copies = [copy.deepcopy(original), pickle.loads(pickle.dumps(original))]  # noqa: S301 (own)
    expected = original(matrix)
    for other in copies:
        assert torch.equal(other(matrix), expected), "a copy gave another result"


def assert_state_round_trip(make: Make, matrix: Tensor) -> None:
    """Assert that a fresh object continues from a ``state_dict`` as the original does."""
    m = matrix.shape[0]
    original, fresh = make(m), make(m)
    original(matrix)
    if not original.state_dict():
        return
    fresh.load_state_dict(original.state_dict())
    assert torch.equal(fresh(matrix), original(matrix)), "the loaded object continues differently"


def assert_instances_are_separate(make: Make, matrix: Tensor) -> None:
    """Assert that calling one object does not change what another one gives."""
    m = matrix.shape[0]
    expected = make(m)(matrix)
    one, other = make(m), make(m)
    one(matrix.flip(1))
    assert_close(other(matrix), expected, scale=longest_row(matrix))


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


def _raised(aggregator: Aggregator, value: object) -> Exception | None:
    try:
        aggregator(value)  # type: ignore[arg-type]  # what is wrong is what is tried
    except Exception as error:
        return error
    return None
