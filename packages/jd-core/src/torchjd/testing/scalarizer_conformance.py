"""One table of properties for every scalarizer, first-party or a stranger's.

>>> from torchjd.scalarization import STCH
>>> from torchjd.testing import scalarizer_conformance
>>> for case in scalarizer_conformance.cases(lambda m: STCH(0.5), promises={"gradient"}):
...     case()

With pytest, ``@pytest.mark.parametrize("case", scalarizer_conformance.cases(...), ids=str)`` over
a test that calls ``case()`` makes a test of each.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from torchjd.scalarization import Scalarizer

from . import _scalarizer_properties as properties
from ._scalarizer_properties import advance
from .conformance import Case

__all__ = ["Case", "Promise", "advance", "cases", "declared"]

Promise = Literal["compiles", "gradient", "permutation"]
"""What a scalarizer may promise, beyond what is expected of all."""

_Check = Callable[[properties.Make, properties.Advance, Tensor], None]

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_PROMISED: dict[Promise, _Check] = {
    "compiles": properties.assert_compiles,
    "gradient": properties.assert_gradient,
    "permutation": properties.assert_permutation_invariant,
}
_ALWAYS: tuple[_Check, ...] = (
    properties.assert_copies_agree,
    properties.assert_deterministic,
    properties.assert_instances_are_separate,
    properties.assert_layout_does_not_matter,
    properties.assert_non_finite_propagates,
    properties.assert_refusals,
    properties.assert_reset,
    properties.assert_shapes_agree,
    properties.assert_state_round_trip,
    properties.assert_state_survives,
)


def cases(
    make: Callable[[int], Scalarizer],
    *,
    promises: Collection[Promise] | None = None,
    advance: Callable[[Scalarizer, Tensor], Tensor] = advance,
) -> list[Case]:
    """Return the cases that a scalarizer must pass.

    :param make: Makes a fresh scalarizer for a vector of a number of values; the same each time,
        so that a random one must be given a generator with a fixed seed.
    :param promises: What it promises: ``"permutation"`` (invariance); ``"compiles"``;
        ``"gradient"``, which is that of the loss, where a method does not hold a part of it fixed
        on purpose. Default: ``"gradient"``, and what it declares by its ``traits``.
    :param advance: What a training loop does with it in a step: calls it on given values, lets it
        learn, and returns the loss, detached. Default: :func:`advance`, which knows parameters,
        ``update(values)`` and ``step()``.
    :raises ValueError: If a promise is unknown.
    """
    promises = declared(make(4)) if promises is None else promises
    unknown = sorted(set(promises) - set(get_args(Promise)))
    if unknown:
        raise ValueError(
            f"`promises` must be among {list(get_args(Promise))}. Got {', '.join(unknown)}."
        )
    found = [Case("dtypes", partial(_on_each, properties.assert_scalar_and_dtype, make, advance))]
    for check in _ALWAYS:
        name = check.__name__.removeprefix("assert_")
        found.append(Case(name, partial(_on_each, check, make, advance, _DTYPES[:1])))
    for promise in sorted(promises):
        # Tracing takes seconds, and sees no values: one example is as good as all.
        n_examples = 1 if promise == "compiles" else None
        run = partial(_on_each, _PROMISED[promise], make, advance, _DTYPES[:1], n_examples)
        found.append(Case(f"promise: {promise}", run))
    return found


def declared(scalarizer: Scalarizer) -> set[Promise]:
    """Return what a scalarizer promises by its ``traits``, and that its gradient is right."""
    traits = scalarizer.traits
    said: dict[Promise, bool] = {
        "compiles": traits.compiles,
        "gradient": True,
        "permutation": traits.permutation,
    }
    return {promise for promise, holds in said.items() if holds}


def _examples() -> list[tuple[str, Tensor]]:
    """Return positive values, no two equal, in no order: from one to nine, near and far."""
    found = []
    for m in (4, 1, 2, 9):
        order = torch.randperm(m, generator=torch.Generator().manual_seed(m))
        near = torch.linspace(0.5, 2.0, m, dtype=torch.float64)
        far = torch.logspace(-2.0, 2.0, m, dtype=torch.float64)
        found += [(f"{m} near values", near[order]), (f"{m} far values", far[order])]
    return found


def _on_each(
    check: _Check,
    make: properties.Make,
    advance: properties.Advance,
    dtypes: Collection[torch.dtype] = _DTYPES,
    n_examples: int | None = None,
) -> None:
    for name, values in _examples()[:n_examples]:
        for dtype in dtypes:
            try:
                check(make, advance, values.to(dtype))
            except AssertionError as error:
                raise AssertionError(f"on {name}, {dtype}: {error}") from error
