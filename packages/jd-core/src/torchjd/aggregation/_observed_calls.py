"""Calls of observed aggregators and weightings: each is shown once, however it is made up.

An aggregator may call itself, or its base, on the way: on parts of the columns, or on other rows.
What is shown is then the outermost call, with the weights of the one within, if there was one.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor, nn

from torchjd.linalg import flatten_gramian
from torchjd.linalg._blocks import JacobianBlocks
from torchjd.linalg._widening import Widener, wide_dtype

from ._inputs import Needs
from ._observers import OBSERVED, Observation, emit, is_observed

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Weighs(Protocol):
    """What says what it reads."""

    @property
    def needs(self) -> Needs:
        """What it reads of the Jacobian."""


class _Calls(threading.local):
    """The calls of observed aggregators that this thread is in, and what is noted in each."""

    def __init__(self) -> None:
        self.notes: dict[int, list[tuple[JacobianBlocks, Observation]]] = {}


_CALLS = _Calls()


def show_combination(
    aggregator: nn.Module,
    jacobian: JacobianBlocks,
    gramian: Tensor | None,
    scale: Tensor | None,
    weights: Tensor,
    losses: Tensor | None,
) -> None:
    """Show what the rows were weighted by: now, or when the call that this is part of is done."""
    seen = Observation(
        m=jacobian.m,
        gramian=gramian,
        scale=scale,
        compute=None if gramian is not None else partial(_scaled_gramian, jacobian),
        weights=weights,
        losses=losses,
    )
    notes = _CALLS.notes.get(id(aggregator))
    if notes is None:
        emit(aggregator, seen)
    else:
        notes.append((jacobian, seen))


def observed_call(
    aggregator: nn.Module, call: Callable[..., Tensor], matrix: Tensor, extra: Mapping[str, Any]
) -> Tensor:
    """Return ``call(matrix, **extra)``, and show it, unless it is part of one that is shown."""
    key = id(aggregator)
    if not is_observed(aggregator) or key in _CALLS.notes:
        return call(matrix, **extra)
    notes = _CALLS.notes[key] = []
    try:
        vector = call(matrix, **extra)
    finally:
        del _CALLS.notes[key]
    _show_update(aggregator, [matrix], [vector], notes, extra.get("losses"))
    return vector


def shown_once(aggregate_blocks: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a method ``aggregate_blocks`` that shows its call, and not those that it makes."""

    @wraps(aggregate_blocks)
    def aggregate(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        key = id(args[0])
        if not OBSERVED.in_use or not is_observed(args[0]) or key in _CALLS.notes:
            return aggregate_blocks(*args, **kwargs)
        notes = _CALLS.notes[key] = []
        try:
            found = aggregate_blocks(*args, **kwargs)
        finally:
            del _CALLS.notes[key]
        blocks: Any = args[1] if len(args) > 1 else kwargs["blocks"]
        result: Any = found
        _show_update(args[0], list(blocks), result[0], notes, None)
        return found

    return aggregate


def observed_weighting(
    weighting: Weighs, call: Callable[..., Tensor], stat: Tensor, extra: Mapping[str, Tensor]
) -> Tensor:
    """Return ``call(stat, **extra)``, and show what ``weighting`` made of it."""
    if not is_observed(weighting):
        return call(stat, **extra)
    needs = weighting.needs  # before the call, which may change what the next one reads
    weights = call(stat, **extra)
    gramian, compute = None, None
    if needs == "gramian":
        gramian = stat if stat.ndim == 2 else flatten_gramian(stat)
    elif needs == "jacobian":
        compute = partial(_scaled_gramian, JacobianBlocks([stat]))
    m = stat.shape[: stat.ndim // 2].numel()
    # Whoever asked for weights will refuse what is none, and says so better.
    if isinstance(weights, Tensor) and weights.numel() == m:
        flat, losses = weights.reshape(-1), extra.get("losses")
        seen = Observation(m=m, gramian=gramian, compute=compute, weights=flat, losses=losses)
        emit(weighting, seen)
    return weights


def _show_update(
    aggregator: object,
    blocks: Sequence[Tensor],
    parts: Sequence[Tensor],
    notes: list[tuple[JacobianBlocks, Observation]],
    losses: Tensor | None,
) -> None:
    """Show an update of any origin."""
    jacobian = JacobianBlocks(blocks)
    weights, gramian, scale = None, None, None
    # Weights of some of the rows are none of all of them.
    if len(notes) == 1 and notes[0][1].m == jacobian.m:
        inner, seen = notes[0]
        weights = seen.weights
        losses = seen.losses if losses is None else losses
        # The Gramian of other rows, such as normalised ones, is none of these.
        if len(inner.blocks) == len(blocks) and all(map(_is, inner.blocks, blocks)):
            gramian, scale = seen.gramian, seen.scale
    emit(
        aggregator,
        Observation(
            m=jacobian.m,
            gramian=gramian,
            scale=scale,
            compute=None if gramian is not None else partial(_scaled_gramian, jacobian),
            weights=weights,
            losses=losses,
            products=partial(_products, blocks, parts) if _fit(blocks, parts) else None,
        ),
    )


def _fit(blocks: Sequence[Tensor], parts: Sequence[Tensor]) -> bool:
    """Return whether the parts are those of an update: what is none is refused elsewhere."""
    return [list(block.shape[1:]) for block in blocks] == [
        list(part.shape) if isinstance(part, Tensor) else None for part in parts
    ]


def _is(one: object, other: object) -> bool:
    return one is other


def _scaled_gramian(jacobian: JacobianBlocks) -> tuple[Tensor, Tensor | None]:
    scale = jacobian.scale()
    return jacobian.gramian(scale), scale


@torch.no_grad()
def _products(blocks: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
    """Return the inner products of the rows with the update, of shape ``[m]``."""
    device = blocks[0].device
    total = torch.zeros(blocks[0].shape[0], dtype=wide_dtype(device), device=device)
    widener = Widener()
    for block, part in zip(blocks, parts, strict=True):
        start = 0
        for chunk in widener.chunks(block.detach()):
            end = start + chunk.shape[1]
            total += (chunk @ part.detach()[start:end].to(chunk)).to(device)
            start = end
    return total
