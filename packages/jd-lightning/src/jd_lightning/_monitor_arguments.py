"""The arguments of the conflict monitor, checked by name."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from torchjd.aggregation import Aggregator, Weighting
from torchjd.autogram import Engine

Target: TypeAlias = Aggregator | Weighting[Any] | Engine
"""What a recorder looks at."""


def as_count(value: int | None, name: str) -> int | None:
    """Return ``value`` if it is None or a positive integer.

    :raises TypeError: If it is of another type.
    :raises ValueError: If it is below 1.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be an integer or None. Got {value!r}.")
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1, or None. Got {value}.")
    return value


def as_target(value: object) -> Target | None:
    """Return ``value`` if a recorder can look at it.

    :raises TypeError: If not.
    """
    if value is None or isinstance(value, Aggregator | Weighting | Engine):
        return value
    found = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
    raise TypeError(
        "`aggregator` must be an Aggregator, a Weighting, an autogram Engine, or None for what the "
        f"JDModule uses. Got {found}. Pass the very object that the training step calls."
    )


def as_names(value: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return ``value`` if it is None or a sequence of names.

    :raises TypeError: If not.
    """
    if value is None:
        return None
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"`names` must be a sequence of str, one an objective. Got {value!r}.")
    return tuple(value)


def as_dirpath(value: str | os.PathLike[str] | None) -> str | None:
    """Return ``value`` as text, or None.

    :raises TypeError: If it is no path.
    """
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"`dirpath` must be a path or None. Got {value!r}.")
    return os.fspath(value)


def as_prefix(value: str) -> str:
    """Return ``value`` if keys can begin with it.

    :raises TypeError: If it is not text.
    :raises ValueError: If it is empty, or ends with the slash that follows it in the keys.
    """
    if not isinstance(value, str):
        raise TypeError(f"`prefix` must be a str. Got {value!r}.")
    if not value or value.endswith("/"):
        raise ValueError(
            f"`prefix` must not be empty nor end with a slash; the keys are `<prefix>/norm/...`. "
            f"Got {value!r}."
        )
    return value
