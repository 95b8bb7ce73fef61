"""Records as lines of a file."""

import csv
import io
import weakref
from os import SEEK_END
from pathlib import Path
from types import TracebackType
from typing import Self

from ._record import Record
from ._table import columns, rows

# Statistics of many records at once take hardly longer than those of one.
_BLOCK = 64
# Up to how many objectives every pair has a column: 120 columns.
_PAIRS_UP_TO = 16


class CsvWriter:
    """Write records to a CSV file, one a line, for a :class:`Recorder`'s ``to``.

    The columns are ``step``, ``conflict_rate``, ``norm/<name>``, ``weight/<name>``,
    ``predicted_decrease/<name>``, ``decrease/<name>`` and, for each pair, ``cosine/<name>/<name>``.
    What is not known is left empty.

    Lines are written 64 at a time, the last ones at :meth:`close`, when a recorder detaches, or
    when the process ends. The file is open only while they are written.

    :param path: The file, in a folder that exists.
    :param append: Whether to go on with a file that exists, and has the same columns. Without, the
        file must not exist yet.
    :param pairs: Whether there are columns for cosines. Default: up to 16 objectives.
    :raises FileExistsError: If the file exists, and ``append`` is not set.
    :raises FileNotFoundError: If its folder does not exist.

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> from torchjd.aggregation import UPGrad
    >>> from torchjd.monitor import CsvWriter, Recorder
    >>> folder = TemporaryDirectory()
    >>> aggregator = UPGrad()
    >>> with Recorder(aggregator, to=CsvWriter(f"{folder.name}/run.csv")):
    ...     update = aggregator(torch.eye(2))
    >>> with open(f"{folder.name}/run.csv") as file:
    ...     file.readline()[:34]
    'step,conflict_rate,norm/0,norm/1,w'
    >>> folder.cleanup()
    """

    waits = True

    def __init__(
        self, path: str | Path, *, append: bool = False, pairs: bool | None = None
    ) -> None:
        self._pairs = pairs
        self._names: tuple[str, ...] | None = None
        self._lines = _Lines(Path(path), append=append)
        # Whoever forgets to close, or fails before, finds the last lines all the same.
        self._finish = weakref.finalize(self, self._lines.flush)

    def __call__(self, record: Record) -> None:
        """Take a record.

        :raises ValueError: If its objectives are not those of the records before, or of the file.
        :raises RuntimeError: If the writer is closed.
        """
        if not self._finish.alive:
            raise RuntimeError("`CsvWriter` must be open to take a record. Got one after `close`.")
        if self._names is None:
            m = len(record.names)
            self._lines.with_pairs = m <= _PAIRS_UP_TO if self._pairs is None else self._pairs
            self._lines.begin(record.names)
            self._names = record.names
        if record.names != self._names:
            raise ValueError(
                f"`names` must be those of the first record, {list(self._names)}: they are the "
                f"columns of the file. Got {list(record.names)} at step {record.step}. Use a "
                "writer, and a file, for each set of objectives."
            )
        self._lines.add(record)

    def flush(self) -> None:
        """Write what was kept back."""
        self._lines.flush()

    def close(self) -> None:
        """Write what was kept back, and take no more."""
        self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Lines:
    """The file, and the records that are not in it yet."""

    def __init__(self, path: Path, *, append: bool) -> None:
        self.path = path
        self.with_pairs = True
        self.records: list[Record] = []
        try:
            path.open("a" if append else "x").close()
        except FileExistsError:
            raise FileExistsError(
                f"`path` must not exist yet. Got {path}, which does. Choose another name, or pass "
                "`append=True` to go on with it."
            ) from None
        self._has_lines = path.stat().st_size > 0

    def begin(self, names: tuple[str, ...]) -> None:
        """Write the header, or compare with the one that is there."""
        text = io.StringIO()
        # With both characters in the terminator, names that have either are quoted.
        header_writer = csv.writer(text, lineterminator="\r\n")
        header_writer.writerow(columns(names, with_pairs=self.with_pairs))
        header = text.getvalue().removesuffix("\r\n") + "\n"
        if not self._has_lines:
            self._write(header)
            return
        with self.path.open(encoding="utf-8", newline="") as file:
            found = file.read(len(header) + 1)[: len(header)]
        if found != header:
            raise ValueError(
                f"`path` must have the columns of the records, to be appended to. Got {self.path}, "
                f"which begins with {found.splitlines()[0][:80]!r}. Choose another file, or the "
                "`names` and `pairs` that it was begun with."
            )
        with self.path.open("rb") as bytes_:
            bytes_.seek(-1, SEEK_END)
            is_cut_off = bytes_.read() != b"\n"
        if is_cut_off:  # by whatever ended the run before: the next line is one of its own
            self._write("\n")

    def add(self, record: Record) -> None:
        """Keep a record, and write a block of them."""
        self.records.append(record)
        if len(self.records) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write all that is kept."""
        records, self.records = self.records, []
        if records:
            self._write("".join(rows(records, with_pairs=self.with_pairs)))

    def _write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)
