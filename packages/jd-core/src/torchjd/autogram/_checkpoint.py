"""Saved tensors that a checkpoint recomputes: read once more, recomputed once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch.autograd.graph import Node
from torch.utils.checkpoint import GraphExecGroup


class _Kept(dict[Any, Any]):
    """What a checkpoint recomputed, by backward pass, of which nothing is forgotten once read."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if value is not None:
            super().__setitem__(key, value)


@contextmanager
def recomputed_once(nodes: Iterable[Node]) -> Iterator[None]:
    """Let what ``nodes`` saved be read several times, although a checkpoint recomputes it.

    A checkpoint hands out each recomputed tensor once in a backward pass, and then forgets it. A
    rule reads it, and so does the node itself when it runs: the checkpoint must not forget. Where
    a release of torch keeps its books otherwise, reading recomputes the region once more.
    """
    holders = [holder for node in nodes for holder in _holders(node)]
    if not holders:
        yield
        return
    for holder in holders:
        holder.handles = _Kept(holder.handles)
    try:
        # One group: what is read after the pass belongs to the same recomputation.
        with GraphExecGroup():
            yield
    finally:
        for holder in holders:
            holder.handles = {}


@cache
def _saved_by(kind: type[Node]) -> list[str]:
    """Return the attributes by which a kind of node gives what it saved, not unpacked."""
    return [name for name in dir(kind) if name.startswith("_raw_saved_")]


def _holders(node: Node) -> Iterator[Any]:
    for name in _saved_by(type(node)):
        saved = getattr(node, name)
        for one in saved if isinstance(saved, list | tuple) else [saved]:
            if getattr(one, "unpack_hook", None) is not None and hasattr(one.data, "handles"):
                yield one.data
