"""What people read of the plugins: who offers what, and who was left out."""

from collections.abc import Iterable
from typing import NamedTuple

from torchjd.plugins import Plugin


class PluginRow(NamedTuple):
    """One line of the table of plugins."""

    name: str
    kind: str
    dist: str
    version: str
    status: str


def rows(plugins: Iterable[Plugin]) -> list[PluginRow]:
    """Return a row for each offered name, and one for each plugin that offers none."""
    plugins = list(plugins)
    owners: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in plugins:
        for kind, names in plugin.names.items():
            for name in names:
                owners.setdefault((kind, name), []).append(plugin)
    found = []
    for plugin in plugins:
        offered = [(kind, name) for kind, names in plugin.names.items() for name in sorted(names)]
        for kind, name in offered:
            others = [other for other in owners[kind, name] if other is not plugin]
            status = _conflict(others) or "ok"
            found.append(PluginRow(name, kind, plugin.dist, plugin.version, status))
        if not offered:
            status = f"{plugin.status}: {plugin.error or 'offers nothing'}"
            found.append(PluginRow("", "", plugin.dist, plugin.version, status))
    return found


def _conflict(others: Iterable[Plugin]) -> str:
    listed = ", ".join(f"{other.dist} {other.version}" for other in others)
    return f"conflict: {listed} offers it too" if listed else ""
