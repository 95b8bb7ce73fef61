"""The command line: what is installed, for people and for ``grep``."""

import argparse
import sys
import warnings
from collections.abc import Iterable, Sequence

from torchjd import aggregation, scalarization
from torchjd.plugins import Plugin, PluginError, PluginWarning, list_plugins

from . import _plugin_table
from ._cli_table import print_table
from ._method_table import row


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
    ).set_defaults(show=_show_plugins)
    commands.add_parser(
        "methods",
        help="list the methods, with what each reads, remembers and guarantees",
        description="List every method, under the module of torchjd that has it: what it reads of "
        "the objectives, the size of what it remembers between calls, what it guarantees, whether "
        "a GPU works without the host, and whether torch.compile traces it whole.",
    ).set_defaults(show=_show_methods)
    show = parser.parse_args(arguments).show
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the table of plugins says it
        plugins = list_plugins()
    if plugins:
        return int(show(plugins))
    print("No plugin is installed: `pip install jd-aggregators`.")
    return 0


def _show_plugins(plugins: Iterable[Plugin]) -> int:
    print_table(_plugin_table.PluginRow._fields, _plugin_table.rows(plugins))
    return 0


def _show_methods(plugins: Iterable[Plugin]) -> int:
    for plugin in plugins:
        if plugin.status == "failed":
            print(f"Left out: {plugin.dist} {plugin.version}: {plugin.error}", file=sys.stderr)
    try:
        rows = [*map(row, aggregation.methods()), *map(row, scalarization.methods())]
    except PluginError as error:
        print(error, file=sys.stderr)
        return 1
    if not rows:
        print("No plugin offers a method: `python -m torchjd plugins` shows what there is.")
        return 0
    columns = ("name", "kind", "input", "state", "guarantees", "on_device", "compiles")
    header = [column.replace("_", " ") for column in columns]
    print_table(header, [[getattr(line, column) for column in columns] for line in rows])
    return 0
