"""One plugin, from its entry point to what it offers, or to the reason why it offers nothing."""

import re
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint

import pluggy

from . import _hookspecs
from ._errors import cause
from ._registry import Kind, Plugin

_HOOKS: Mapping[str, Kind] = {
    "torchjd_aggregators": "aggregation",
    "torchjd_gramian_rules": "autogram.rules",
    "torchjd_projectors": "linalg",
    "torchjd_scalarizers": "scalarization",
}
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class StillImportingError(Exception):
    """The plugin's module is being imported right now: ask again later."""


def load_plugin(entry_point: EntryPoint) -> Plugin:
    """Import the target of ``entry_point`` and ask its hooks what they offer.

    Whatever is wrong with one plugin ends up in its own ``error``.

    :raises StillImportingError: If the target is in the middle of its own import.
    """
    dist, version = owner(entry_point)
    described = f"{entry_point.name} = {entry_point.value}"
    # SystemExit too: a script that is taken for a plugin must not end the user's process.
    try:
        names = _ask(entry_point)
    except StillImportingError:
        raise
    except (Exception, SystemExit) as error:
        return Plugin(dist, version, described, "failed", cause(error))
    return Plugin(dist, version, described, names=names)


def owner(entry_point: EntryPoint) -> tuple[str, str]:
    """Return the name and the version of the distribution of ``entry_point``."""
    dist = entry_point.dist
    # An interrupted installation leaves entry points without metadata.
    return (dist and dist.name) or "unknown", (dist and dist.version) or "unknown"


def _ask(entry_point: EntryPoint) -> Mapping[Kind, Mapping[str, str]]:
    module = import_module(entry_point.module)
    if getattr(module.__spec__, "_initializing", False):
        raise StillImportingError
    plugin = entry_point.load()
    # A manager for each plugin: pluggy lets an invalid one half registered, and one hook that
    # raises loses the results of all.
    manager = pluggy.PluginManager("torchjd")
    manager.add_hookspecs(_hookspecs)
    manager.register(plugin)
    manager.check_pending()
    known = [hook for hook in _HOOKS if getattr(manager.hook, hook).get_hookimpls()]
    if not known:
        raise ValueError(
            f"it implements none of the hooks {', '.join(_HOOKS)}. Mark a function of that name "
            "with `@torchjd.plugins.hookimpl`."
        )
    return {_HOOKS[hook]: _checked(hook, getattr(manager.hook, hook)()) for hook in known}


def _checked(hook: str, results: list[object]) -> Mapping[str, str]:
    names: dict[str, str] = {}
    for result in results or [None]:  # pluggy drops a result that is None
        if not isinstance(result, Mapping):
            raise TypeError(f"`{hook}` must return a mapping. Got {type(result).__name__}.")
        for name, target in result.items():
            if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
                raise ValueError(f"`{hook}` must give public identifiers. Got {name!r}.")
            if not isinstance(target, str) or not _TARGET.fullmatch(target):
                raise ValueError(
                    f'`{hook}` must map {name!r} to "module:attribute". Got {target!r}.'
                )
            names[name] = target
    _refuse_taken(hook, names)
    return names


def _refuse_taken(hook: str, names: Mapping[str, str]) -> None:
    """Refuse the names that the module defines itself: asked for, it would never look further."""
    # Looked up, not imported: discovery begins when these modules are there.
    module = sys.modules.get(f"torchjd.{_HOOKS[hook]}")
    taken = [name for name in names if name in getattr(module, "__all__", ())]
    if taken:
        raise ValueError(
            f"`{hook}` must not give names that torchjd.{_HOOKS[hook]} defines itself. "
            f"Got {', '.join(map(repr, taken))}. Rename what has such a name."
        )
