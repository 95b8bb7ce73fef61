"""Parameters of scalarizers that go with the values: their shape, and tensors of that shape."""

from collections.abc import Sequence
from typing import Any, Self, TypeVar, overload

import torch
from torch import Tensor

from jd_aggregators._settings import Configured, Setting

T = TypeVar("T", Tensor, Tensor | None)


class PerValue(Setting[T]):
    """A tensor with one entry per value, in the shape of the values.

    It is a buffer, so that it moves along with the scalarizer, and no part of the ``state_dict``:
    what is chosen is not what is learned.

    :param optional: Whether None is allowed.
    :param preference: Whether it says how much each value counts: entries of at least 0, some of
        them more.
    """

    def __init__(self, doc: str, *, optional: bool = False, preference: bool = False) -> None:
        super().__init__(doc)
        self._optional, self._preference = optional, preference

    @overload
    def __get__(self, method: None, owner: type) -> Self: ...
    @overload
    def __get__(self, method: object, owner: type) -> T: ...
    def __get__(self, method: Any, owner: type) -> Self | T:
        if method is None:
            return self
        entries: T = method._buffers[f"_{self.name}"]
        return entries

    def __set__(self, method: Any, value: T) -> None:
        method.register_buffer(f"_{self.name}", self.checked(value), persistent=False)

    def checked(self, value: Any) -> T:
        """Return a copy of ``value``."""
        absent = value is None and self._optional
        entries: T = value if absent else self._copied(value)
        return entries

    def _copied(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            allowed = " or None" if self._optional else ""
            raise TypeError(f"`{self.name}` must be a floating-point tensor{allowed}. Got {found}.")
        if value.requires_grad:
            raise ValueError(
                f"`{self.name}` must not require grad: a copy of it is kept, which learns nothing. "
                f"Pass `{self.name}.detach()`, or let UW or IMTLL learn."
            )
        if value.numel() == 0:
            raise ValueError(
                f"`{self.name}` must have one entry per value. Got shape {list(value.shape)}."
            )
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"`{self.name}` must have finite entries. Got {value.tolist()}.")
        if self._preference and not bool((value >= 0).all() & (value > 0).any()):
            raise ValueError(
                f"`{self.name}` must have entries of at least 0, and one that is greater. "
                f"Got {value.tolist()}."
            )
        return value.detach().clone()


class Tuned(Configured):
    """A scalarizer with settings that may be tensors."""

    def __setattr__(self, name: str, value: Any) -> None:
        # `nn.Module` would take a parameter for one of its own, before the setting can refuse it.
        setting = getattr(type(self), name, None)
        if isinstance(setting, PerValue):
            setting.__set__(self, value)
        else:
            super().__setattr__(name, value)


class Shape(Setting[tuple[int, ...]]):
    """The shape of the values, fixed at construction; an int is the length of a vector."""

    def __set__(self, method: object, value: tuple[int, ...]) -> None:
        if f"_{self.name}" in method.__dict__:
            raise AttributeError(
                f"`{self.name}` cannot be changed: what is learned has that shape. "
                f"Make another {type(method).__name__}."
            )
        super().__set__(method, value)

    def checked(self, value: Any) -> tuple[int, ...]:
        """Return ``value`` as a tuple."""
        lengths = [value] if isinstance(value, int) else value
        if not isinstance(lengths, Sequence) or isinstance(lengths, str):
            raise TypeError(
                f"`{self.name}` must be an int or a sequence of ints. Got {type(value).__name__}."
            )
        if any(isinstance(length, bool) or not isinstance(length, int) for length in lengths):
            raise TypeError(f"`{self.name}` must have ints as lengths. Got {value!r}.")
        if any(length < 1 for length in lengths):
            raise ValueError(f"`{self.name}` must have lengths of at least 1. Got {value!r}.")
        return tuple(lengths)


class Sized(Tuned):
    """A scalarizer for values of one shape.

    :param shape: The shape of the values.
    """

    shape = Shape("The shape of the values.")

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__()
        self.shape = shape  # type: ignore[assignment]  # an int or a list becomes a tuple

    def _require_shape(self, values: Tensor, name: str = "values") -> None:
        """Raise ValueError unless ``values`` has the shape that was promised."""
        if values.shape != self.shape:
            raise ValueError(
                f"`{name}` must have the `shape` that {type(self).__name__} was made for, "
                f"{list(self.shape)}. Got shape {list(values.shape)}."
            )
