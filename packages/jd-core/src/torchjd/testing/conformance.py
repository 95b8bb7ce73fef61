"""One table of properties for every aggregator, first-party or a stranger's.

>>> from torchjd.aggregation import UPGrad
>>> from torchjd.testing import conformance
>>> for case in conformance.cases(lambda m: UPGrad()):
...     case()

With pytest, ``@pytest.mark.parametrize("case", conformance.cases(...), ids=str)`` over a test that
calls ``case()`` makes a test of each.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator

from . import _object_properties as objects, _properties as properties
from .matrices import Example, examples, gaussian

__all__ = ["Case", "Promise", "cases", "declared"]

Promise = Literal["no conflict", "permutation", "homogeneous", "linear under scaling", "compiles"]
"""What a method may promise, beyond what is expected of all."""

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_MATHEMATICS: dict[Promise, Callable[[Aggregator, Tensor], None]] = {
    "no conflict": properties.assert_no_conflict,
    "permutation": properties.assert_permutation_invariant,
    "homogeneous": properties.assert_homogeneous,
    "linear under scaling": properties.assert_linear_under_scaling,
    "compiles": properties.assert_compiles,
}
# The exponents of half precision end near 1e-8 and 1e5: scaling by 1e30 is for the wide dtypes.
_WIDE: dict[Promise, tuple[torch.dtype, ...]] = {
    "homogeneous": (torch.float64, torch.float32),
    "permutation": (torch.float64,),
    "linear under scaling": (torch.float64,),
    "compiles": (torch.float32,),
}
_ALWAYS = (
    properties.assert_shape_and_dtype,
    properties.assert_zero_of_zero,
    properties.assert_weights_agree,
    properties.assert_layout_does_not_matter,
    properties.assert_takes_grad,
    properties.assert_non_finite_propagates,
)
_OBJECTS = (
    objects.assert_deterministic,
    objects.assert_copies_agree,
    objects.assert_state_round_trip,
    objects.assert_instances_are_separate,
    objects.assert_reset,
    objects.assert_state_survives,
    objects.assert_recovers,
    objects.assert_default_device_plays_no_part,
    objects.assert_refusals,
    objects.assert_missing_inputs_are_named,
)


@dataclass(frozen=True)
class Case:
    """A property to be tried; calling it raises AssertionError where it does not hold."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Try the property."""
        self.run()

    def __str__(self) -> str:
        return self.name


def cases(
    make: Callable[[int], Aggregator],
    *,
    promises: Collection[Promise] | None = None,
    min_rows: int = 1,
) -> list[Case]:
    """Return the cases that an aggregator must pass.

    :param make: Makes a fresh aggregator for a number of rows; the same each time, so that a
        random method must be given a generator with a fixed seed.
    :param promises: What the method promises: ``"no conflict"``, ``"permutation"`` (invariance),
        ``"homogeneous"``, ``"linear under scaling"``, ``"compiles"``. Default: what it declares,
        by its ``traits`` and its ``degree``.
    :param min_rows: The fewest rows that the method works on.
    :raises ValueError: If a promise is unknown.
    """
    promises = declared(make(max(4, min_rows))) if promises is None else promises
    unknown = sorted(set(promises) - set(get_args(Promise)))
    if unknown:
        raise ValueError(
            f"`promises` must be among {list(get_args(Promise))}. Got {', '.join(unknown)}."
        )
    matrices = [example for example in examples() if len(example.matrix) >= min_rows]
    plain = gaussian(max(4, min_rows), 7, seed=1)
    found = [
        Case(f"{check.__name__.removeprefix('assert_')}", partial(check, make, plain))
        for check in _OBJECTS
    ]
    for always in _ALWAYS:
        name = always.__name__.removeprefix("assert_")
        found.append(Case(name, partial(_on_each, always, make, matrices, (torch.float64,))))
    found.append(Case("dtypes", partial(_on_each, _ALWAYS[0], make, matrices, _DTYPES)))
    found.append(Case("blocks", partial(_blocks, make, plain)))
    for promise in sorted(promises):
        on = [Example("gaussian", plain)] if promise == "compiles" else matrices
        dtypes = _WIDE.get(promise, _DTYPES)
        promised = _MATHEMATICS[promise]
        run = partial(_on_each, promised, make, on, dtypes)
        found.append(Case(f"promise: {promise}", run))
    return found


def declared(aggregator: Aggregator) -> set[Promise]:
    """Return what an aggregator declares that it promises."""
    traits = aggregator.traits
    said: dict[Promise, bool] = {
        "no conflict": traits.no_conflict,
        "permutation": traits.permutation,
        "homogeneous": aggregator.degree is not None,
        "linear under scaling": traits.linear_under_scaling,
        "compiles": traits.compiles,
    }
    return {promise for promise, holds in said.items() if holds}


def _on_each(
    check: Callable[[Aggregator, Tensor], None],
    make: Callable[[int], Aggregator],
    matrices: list[Example],
    dtypes: Collection[torch.dtype],
) -> None:
    for name, matrix in matrices:
        for dtype in dtypes:
            try:
                check(make(len(matrix)), matrix.to(dtype))
            except AssertionError as error:
                raise AssertionError(f"on {name}, {dtype}: {error}") from error


def _blocks(make: Callable[[int], Aggregator], matrix: Tensor) -> None:
    properties.assert_blocks_agree(make(len(matrix)), matrix, (3, 0, matrix.shape[1] - 3))
