"""A table on the command line: fitted to a terminal, whole lines for a pipe."""

from collections.abc import Sequence

Cells = Sequence[str]
"""One line of a table."""


def print_table(header: Cells, rows: Sequence[Cells]) -> None:
    """Print ``rows`` under ``header``, with ``-`` for what is empty."""
    rows = [[cell or "-" for cell in row] for row in rows]
    if not _print_rich(header, rows):
        cells = [header, *rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            line = "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))
            print(line.rstrip())


def _print_rich(header: Cells, rows: Sequence[Cells]) -> bool:
    """Print a table that fits the terminal; return False where there is none, or no rich."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    console = Console()
    if not console.is_terminal:  # a pipe gets whole lines
        return False
    shown = Table(*header)
    for row in rows:
        shown.add_row(*(Text(cell, overflow="fold") for cell in row))
    console.print(shown)
    return True
