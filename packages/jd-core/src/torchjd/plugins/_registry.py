"""What the plugins offer, as data: no import of a plugin, no look at what is installed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from ._errors import PluginConflictError

Kind = Literal["aggregation", "autogram.rules", "linalg", "scalarization"]
"""The module under ``torchjd`` in which a name appears."""

Status = Literal["ok", "failed", "not allowed"]


@dataclass(frozen=True)
class Plugin:
    """A plugin: the installed distribution, its entry point, and what it offers.

    :ivar dist: The name of the distribution, as installed.
    :ivar version: Its version.
    :ivar entry_point: The entry point in the group ``torchjd``, as ``name = target``.
    :ivar status: ``"ok"``; ``"failed"``, left out for the reason in ``error``; or
        ``"not allowed"`` by ``TORCHJD_PLUGINS``.
    :ivar error: Why it was left out; empty if it was not.
    :ivar names: By kind, from each public name to ``"module:attribute"``.
    """

    dist: str
    version: str
    entry_point: str
    status: Status = "ok"
    error: str = ""
    names: Mapping[Kind, Mapping[str, str]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Offer:
    """A name that a plugin offers, and where to import it from."""

    plugin: Plugin
    target: str

    def __str__(self) -> str:
        return f"{self.plugin.dist} {self.plugin.version} ({self.target})"


class Registry:
    """All plugins found, and whose each name is.

    :param plugins: The plugins, in the order in which they are listed.
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)

    def names(self, kind: Kind) -> list[str]:
        """Return the names of a kind, sorted."""
        return sorted({name for plugin in self.plugins for name in plugin.names.get(kind, {})})

    def offers(self, kind: Kind, name: str) -> list[Offer]:
        """Return who offers ``name``."""
        return [
            Offer(plugin, plugin.names[kind][name])
            for plugin in self.plugins
            if name in plugin.names.get(kind, {})
        ]

    def find(self, kind: Kind, name: str) -> Offer | None:
        """Return the one offer of ``name``, or None.

        :raises PluginConflictError: If several plugins offer it.
        """
        offers = self.offers(kind, name)
        if len(offers) > 1:
            module, attribute = offers[0].target.split(":")
            losers = [offer.plugin for offer in offers[1:]]
            keep = [p.dist for p in self.plugins if p.status == "ok" and p not in losers]
            raise PluginConflictError(
                f"`torchjd.{kind}.{name}` is offered by {len(offers)} plugins: "
                f"{' and '.join(map(str, offers))}. Allow one of them, for instance with "
                f"TORCHJD_PLUGINS={','.join(dict.fromkeys(keep))} in the environment, or import "
                f"the one you want directly, for instance `from {module} import {attribute}`."
            )
        return offers[0] if offers else None

    def similar(self, kind: Kind, name: str) -> str | None:
        """Return the offered name closest to ``name``, whatever the case, if one is close."""
        names = {offered.lower(): offered for offered in self.names(kind)}
        close = get_close_matches(name.lower(), names, n=1, cutoff=0.75)
        return names[close[0]] if close else None
