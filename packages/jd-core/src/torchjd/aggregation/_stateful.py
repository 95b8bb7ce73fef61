"""The protocol of methods that remember something between steps."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """An object whose results depend on what it was called with before.

    >>> from torchjd import Stateful
    >>> class Counter:
    ...     def __init__(self) -> None:
    ...         self.reset()
    ...
    ...     def reset(self) -> None:
    ...         self.count = 0
    >>> isinstance(Counter(), Stateful)
    True
    """

    def reset(self) -> None:
        """Forget the past: behave like a fresh object with the same parameters."""
        ...  # a protocol states the method, it has no body
