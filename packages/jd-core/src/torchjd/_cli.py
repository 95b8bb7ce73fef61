"""The command line: what is installed, for people and for ``grep``."""

import argparse
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torchjd.plugins import Plugin, PluginWarning, list_plugins


class Row(NamedTuple):
    """One line of the table of plugins."""

    name: str
    kind: str
    dist: str
    version: str
    status: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m torchjd`` with ``arguments``, by default those of the process.

    :returns: The exit code; the parser itself leaves with 2 where it does not understand.
    """
    parser = argparse.ArgumentParser("python -m torchjd", description="Jacobian descent.")
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser(
        "plugins",
        help="list what the installed plugins offer, and which were left out and why",
        description="List every name that an installed plugin offers, and every plugin that was "
        "left out, with the reason. TORCHJD_PLUGINS, a list of distributions separated by commas, "
        "limits which are loaded.",
    )
    parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the table says it
        plugins = list_plugins()
    if plugins:
        _print(table(plugins))
    else:
        print("No plugin is installed: `pip install jd-aggregators`.")
    return 0


def table(plugins: Iterable[Plugin]) -> list[Row]:
    """Return a row for each offered name, and one for each plugin that offers none."""
    plugins = list(plugins)
    owners: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in plugins:
        for kind, names in plugin.names.items():
            for name in names:
                owners.setdefault((kind, name), []).append(plugin)
    rows = []
    for plugin in plugins:
        offered = [(kind, name) for kind, names in plugin.names.items() for name in sorted(names)]
        for kind, name in offered:
            others = [other for other in owners[kind, name] if other is not plugin]
            rows.append(Row(name, kind, plugin.dist, plugin.version, _conflict(others) or "ok"))
        if not offered:
            status = f"{plugin.status}: {plugin.error or 'offers nothing'}"
            rows.append(Row("-", "-", plugin.dist, plugin.version, status))
    return rows


def _conflict(others: Iterable[Plugin]) -> str:
    listed = ", ".join(f"{other.dist} {other.version}" for other in others)
    return f"conflict: {listed} offers it too" if listed else ""


def _print(rows: Sequence[Row]) -> None:
    if not _print_rich(rows):
        cells = [Row._fields, *rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            line = "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))
            print(line.rstrip())


def _print_rich(rows: Sequence[Row]) -> bool:
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
    shown = Table(*Row._fields)
    for row in rows:
        shown.add_row(*(Text(cell, overflow="fold") for cell in row))
    console.print(shown)
    return True
