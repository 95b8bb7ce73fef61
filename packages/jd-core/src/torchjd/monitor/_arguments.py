"""Checks of what users hand to a recorder."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Weighting
from torchjd.autogram import Engine

from ._sinks import Sink

Values = Tensor | Sequence[Tensor | float]
"""A tensor of m elements, or m tensors of one element or numbers."""


def as_target(value: object) -> Aggregator | Weighting[Any] | Engine:
    """Return ``value`` if it can be observed.

    :raises TypeError: If it is none of the three.
    """
    if isinstance(value, Aggregator | Weighting | Engine):
        return value
    found = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    raise TypeError(
        f"`target` must be an Aggregator, a Weighting or an autogram.Engine. Got {found}. Pass the "
        "very object that the training loop uses; of a compiled weighting, what was compiled."
    )


def as_names(value: object) -> tuple[str, ...] | None:
    """Return ``value`` as names, or None.

    :raises TypeError: If it is no sequence of strings.
    :raises ValueError: If two are the same, or there is none.
    """
    if value is None:
        return None
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if isinstance(value, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"`names` must be a sequence of strings, or None. Got {value!r}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`names` must be different from one another, and some. Got {value!r}.")
    return names


def as_positive(value: object, name: str) -> int:
    """Return ``value`` if it is a positive int.

    :raises TypeError: If it is no int.
    :raises ValueError: If it is less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be an int. Got {type(value).__name__}.")
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1. Got {value}.")
    return value


def as_rate(value: object) -> float:
    """Return ``value`` as a learning rate.

    :raises TypeError: If it is no number.
    :raises ValueError: If it is not finite and at least 0.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"`learning_rate` must be a number. Got {type(value).__name__}.")
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"`learning_rate` must be finite, and at least 0. Got {value}.")
    return float(value)


def as_sinks(value: object) -> list[Sink]:
    """Return the callables of ``value``, which may be one.

    :raises TypeError: If it is no callable and no iterable of them.
    """
    sinks: list[Any] = (
        list(value) if isinstance(value, Iterable) and not callable(value) else [value]
    )
    for sink in sinks:
        if not callable(sink) or isinstance(sink, type):
            found = f"the class {sink.__name__}" if isinstance(sink, type) else repr(sink)
            raise TypeError(
                f"`to` must be a callable that takes a Record, or several. Got {found}. "
                "To write a file, pass a `CsvWriter(path)`."
            )
    return sinks


def as_values(values: Values, m: int, name: str) -> Tensor:
    """Return the values of the objectives as a vector of its own.

    :param values: What the user passed.
    :param m: How many are required.
    :param name: The user's own name for them.
    :raises TypeError: If they are no real numbers.
    :raises ValueError: If there are not m.
    """
    parts = [values] if isinstance(values, Tensor) or not isinstance(values, Iterable) else values
    found = []
    for part in parts:
        is_number = isinstance(part, int | float)
        if not (is_number or isinstance(part, Tensor)) or (
            isinstance(part, Tensor) and part.is_complex()
        ):
            raise TypeError(f"`{name}` must be a tensor, or tensors or numbers. Got {part!r}.")
        tensor = part if isinstance(part, Tensor) else torch.tensor(part, dtype=torch.float64)
        found.append(tensor.detach().reshape(-1))
    count = sum(map(len, found))
    if count != m:
        raise ValueError(
            f"`{name}` must have one element per objective, {m}. Got {count}. Pass the losses, "
            "in the order of the objectives."
        )
    return torch.cat(found) if len(found) > 1 else found[0].clone()


@lru_cache(maxsize=64)
def numbers(m: int) -> tuple[str, ...]:
    """Return the names of objectives that have none: ``"0"``, ``"1"``, and so on."""
    return tuple(map(str, range(m)))
