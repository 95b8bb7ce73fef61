"""Parameters of methods: checked whenever they are set, at construction and afterwards."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import isfinite
from numbers import Real as RealNumber
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

from torch import Tensor, nn

from ._preference import check_preference

T = TypeVar("T")


class Setting(ABC, Generic[T]):
    """A parameter of a method, as an attribute that refuses what it cannot be.

    :param doc: What it is, for the documentation.
    :cvar shown: Whether it has a value that people can read.
    """

    name: str
    shown: ClassVar[bool] = True

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, method: None, owner: type) -> Self: ...
    @overload
    def __get__(self, method: object, owner: type) -> T: ...
    def __get__(self, method: object | None, owner: type) -> Self | T:
        if method is None:
            return self
        value: T = method.__dict__[f"_{self.name}"]
        return value

    def __set__(self, method: object, value: T) -> None:
        method.__dict__[f"_{self.name}"] = self.checked(value)

    @abstractmethod
    def checked(self, value: Any) -> T:
        """Return ``value``, converted; raise what is wrong with it."""


class Number(Setting[float]):
    """A finite real number within bounds.

    :param low: The least value.
    :param high: The largest value.
    :param above: What it must exceed.
    :param below: What it must stay under.
    """

    def __init__(
        self,
        doc: str,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        below: float | None = None,
    ) -> None:
        super().__init__(doc)
        self._low, self._high, self._above, self._below = low, high, above, below

    def checked(self, value: Any) -> float:
        """Return ``value`` as a float."""
        if isinstance(value, bool) or not isinstance(value, RealNumber):
            raise TypeError(f"`{self.name}` must be a number. Got {type(value).__name__}.")
        number = float(value)
        within = (
            isfinite(number)
            and (self._low is None or number >= self._low)
            and (self._high is None or number <= self._high)
            and (self._above is None or number > self._above)
            and (self._below is None or number < self._below)
        )
        if not within:
            raise ValueError(f"`{self.name}` must be {self._required()}. Got {value!r}.")
        return number

    def _required(self) -> str:
        bounds = [
            (self._low, "at least"),
            (self._above, "greater than"),
            (self._high, "at most"),
            (self._below, "less than"),
        ]
        said = [f"{words} {bound:g}" for bound, words in bounds if bound is not None]
        return " and ".join(["finite", *said])


class Count(Setting[int]):
    """A whole number.

    :param low: The least value.
    """

    def __init__(self, doc: str, *, low: int = 0) -> None:
        super().__init__(doc)
        self._low = low

    def checked(self, value: Any) -> int:
        """Return ``value`` as an int."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"`{self.name}` must be an int. Got {type(value).__name__}.")
        if value < self._low:
            raise ValueError(f"`{self.name}` must be at least {self._low}. Got {value}.")
        return value


class Choice(Setting[T]):
    """One of a few names.

    :param options: Which.
    """

    def __init__(self, doc: str, options: tuple[T, ...]) -> None:
        super().__init__(doc)
        self._options = options

    def checked(self, value: Any) -> T:
        """Return ``value``."""
        if value not in self._options:
            listed = ", ".join(map(repr, self._options))
            raise ValueError(f"`{self.name}` must be one of {listed}. Got {value!r}.")
        chosen: T = value
        return chosen


class Flag(Setting[bool]):
    """True or False."""

    def checked(self, value: Any) -> bool:
        """Return ``value``."""
        if not isinstance(value, bool):
            raise TypeError(f"`{self.name}` must be a bool. Got {type(value).__name__}.")
        return value


class Preference(Setting[Tensor | None]):
    """How much each objective counts: a vector of shape ``[m]``, or None for all the same."""

    def checked(self, value: Any) -> Tensor | None:
        """Return a copy of ``value``."""
        return check_preference(value, self.name)


class OfWeighting(Setting[T]):
    """A parameter of an aggregator that is one of its weighting.

    :param setting: That of the weighting, such as ``CAGradWeighting.c``.
    """

    def __init__(self, setting: Setting[T]) -> None:
        super().__init__(setting.__doc__ or "")
        self._setting = setting

    @overload
    def __get__(self, method: None, owner: type) -> Self: ...
    @overload
    def __get__(self, method: object, owner: type) -> T: ...
    def __get__(self, method: Any, owner: type) -> Self | T:
        if method is None:
            return self
        value: T = getattr(method.weighting, self.name)
        return value

    def __set__(self, method: Any, value: T) -> None:
        setattr(method.weighting, self.name, value)

    def checked(self, value: Any) -> T:
        """Return ``value`` as the weighting takes it."""
        return self._setting.checked(value)


class Configured(nn.Module):
    """A method that shows those of its settings that differ from the defaults."""

    def extra_repr(self) -> str:
        """Return the parameters that are not the default."""
        return ", ".join(f"{name}={_shown(value)}" for name, value in self._given())

    def _given(self) -> Iterator[tuple[str, object]]:
        for name, parameter in inspect.signature(type(self)).parameters.items():
            setting = inspect.getattr_static(type(self), name, None)
            if isinstance(setting, Setting) and setting.shown:
                value, default = getattr(self, name), parameter.default
                is_required = default is inspect.Parameter.empty
                if is_required or _shown(value) != _shown(setting.checked(default)):
                    yield name, value


def _shown(value: object) -> str:
    return str(value.tolist()) if isinstance(value, Tensor) else repr(value)
