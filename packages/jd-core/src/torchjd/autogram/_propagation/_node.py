"""What the proofs read of a node: sizes and numbers, never a tensor."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from torchjd.autogram._layout import Layout

Saver = Any
"""A node; its class does not declare what it saves."""

Found = Mapping[int, Layout] | None
"""From inputs to their layouts, inputs that sum over samples left out; None: nothing is proved."""

Rule = Callable[[Saver, Layout, int], Found]
"""From a node, the layout of its outputs and the batch size to the layouts of its inputs."""

Joint = Callable[[Saver, Sequence[Layout | None], int], Found]
"""The same, for a node with several outputs, each with its layout."""


@cache
def at(dim: int, inner: bool) -> Layout:
    """Return a layout; layouts are few, and to look one up is faster than to build it."""
    return Layout(dim, inner)


def moved(layout: Layout, dim: int) -> Layout:
    """Return ``layout`` in a dimension of the same size elsewhere."""
    return layout if dim == layout.dim else at(dim, layout.inner)


def wrapped(dim: int, ndim: int) -> int:
    """Return a dimension counted from the first.

    A node gives some negative dimensions back as unsigned numbers of 64 bits.
    """
    if dim >= 1 << 63:
        dim -= 1 << 64
    return dim + ndim if dim < 0 else dim


def output_shape(node: Saver) -> Sequence[int]:
    """Return the shape of the first output of ``node``."""
    shape: Sequence[int] = node._input_metadata[0].shape
    return shape


def input_shape(node: Saver, index: int) -> Sequence[int] | None:
    """Return the shape of an input of ``node``; None if it needs no gradient."""
    source, number = node.next_functions[index]
    if source is None:
        return None
    shape: Sequence[int] = source._input_metadata[number].shape
    return shape


def input_shapes(node: Saver) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield the number and the shape of each input of ``node`` that needs a gradient."""
    for index, (source, number) in enumerate(node.next_functions):
        if source is not None:
            yield index, source._input_metadata[number].shape


def present(node: Saver, layouts: Mapping[int, Layout]) -> dict[int, Layout]:
    """Return the layouts of those inputs that need a gradient."""
    inputs = node.next_functions
    last = len(inputs)
    return {i: layout for i, layout in layouts.items() if i < last and inputs[i][0] is not None}


def alike(rule: Rule) -> Joint:
    """Return ``rule`` for a node whose outputs lie alike, so that their layouts must agree."""

    def joint(node: Saver, layouts: Sequence[Layout | None], batch: int) -> Found:
        known = [layout for layout in layouts if layout is not None]
        if not known or any(layout != known[0] for layout in known):
            return None
        return rule(node, known[0], batch)

    return joint


def named(kinds: str, rule: Rule) -> dict[str, Rule]:
    """Return ``rule`` under the names of nodes, given as operation and number of its version."""
    return {f"{kind[:-1]}Backward{kind[-1]}": rule for kind in kinds.split()}
