"""What takes records."""

from collections.abc import Iterable
from typing import Protocol

from ._record import Record


class Sink(Protocol):
    """A callable that takes a record.

    With a true attribute ``waits``, it gets a record once that is complete. With a method
    ``flush``, that is called at the end of a recording.
    """

    def __call__(self, record: Record, /) -> object:
        """Take a record."""


def waits(sink: Sink) -> bool:
    """Return whether ``sink`` wants complete records."""
    return bool(getattr(sink, "waits", False))


def flush(sinks: Iterable[Sink]) -> None:
    """Have the sinks that keep something back write it."""
    for sink in sinks:
        write = getattr(sink, "flush", None)
        if callable(write):
            write()
