"""Hooks on parameters, kept from what the user did not ask for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor


@contextmanager
def hooks_suspended(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Keep the hooks of ``leaves`` from seeing gradients that the user did not ask for."""
    # Of tensors, the type stubs know no hooks.
    found = [getattr(leaf, "_backward_hooks", None) for leaf in leaves]
    every: list[dict[int, object]] = [hooks for hooks in found if hooks]
    kept = [dict(hooks) for hooks in every]
    for hooks in every:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, own in zip(every, kept, strict=True):
            hooks.update(own)
