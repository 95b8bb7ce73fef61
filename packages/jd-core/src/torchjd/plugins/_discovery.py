"""Find the installed plugins, once, when a name is first asked for."""

import os
import re
import threading
import warnings
from importlib.metadata import EntryPoint, entry_points

from ._errors import PluginError, PluginWarning
from ._registry import Plugin, Registry

GROUP = "torchjd"
ALLOW_LIST = "TORCHJD_PLUGINS"


class _Cache:
    """The registry, found once for all threads, and the failures already reported."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.registry: Registry | None = None
        self.reported: set[Plugin] = set()
        self.thread = threading.local()


_cache = _Cache()


def registry() -> Registry:
    """Return what the installed plugins offer; look for them at the first call.

    A plugin that fails is reported by one :class:`PluginWarning`; the others live.

    :raises PluginError: If called by a plugin that is being discovered.
    """
    if (known := _cache.registry) is not None:
        return known
    if getattr(_cache.thread, "discovering", False):
        raise PluginError(
            "A plugin asked torchjd for a discovered name while it was being discovered. Its "
            "entry point must be a light module; let it name its methods as "
            '"module:attribute", and import them from the distribution that defines them.'
        )
    # Without the lock: a thread that imports a plugin may be waiting for this very discovery.
    _cache.thread.discovering = True
    try:
        found, complete = _discover()
    finally:
        _cache.thread.discovering = False
    with _cache.lock:
        if _cache.registry is not None:
            return _cache.registry
        if complete:
            _cache.registry = found
        failed = [p for p in found.plugins if p.status == "failed" and p not in _cache.reported]
        _cache.reported.update(failed)
    for plugin in failed:
        _report(plugin)
    return found


def forget() -> None:
    """Look for plugins again at the next call of :func:`registry`."""
    with _cache.lock:
        _cache.registry = None
        _cache.reported.clear()


def list_plugins() -> tuple[Plugin, ...]:
    """Return every installed plugin, those that failed or are not allowed included.

    The order is that of the names of the distributions. ``TORCHJD_PLUGINS``, a list of
    distributions separated by commas, limits which are loaded; empty allows none.

    >>> from torchjd.plugins import list_plugins
    >>> all(plugin.status == "ok" for plugin in list_plugins())
    True
    """
    return registry().plugins


def _discover() -> tuple[Registry, bool]:
    # pluggy comes with the loader: importing torchjd alone does not pay for it.
    from ._load import StillImportingError, load_plugin, owner

    allowed = _allowed()
    plugins, complete = [], True
    for entry_point in sorted(entry_points(group=GROUP), key=_order):
        dist, version = owner(entry_point)
        if allowed is not None and _normalized(dist) not in allowed:
            described = f"{entry_point.name} = {entry_point.value}"
            reason = f"{ALLOW_LIST} does not list it"
            plugins.append(Plugin(dist, version, described, "not allowed", reason))
            continue
        try:
            plugins.append(load_plugin(entry_point))
        except StillImportingError:
            complete = False
    return Registry(plugins), complete


def _report(plugin: Plugin) -> None:
    warnings.warn(
        f"The plugin {plugin.dist} {plugin.version} (entry point `{plugin.entry_point}`) is left "
        f"out: {plugin.error}. Upgrade or uninstall it, or keep it from loading with {ALLOW_LIST}.",
        PluginWarning,
        stacklevel=2,
    )


def _allowed() -> set[str] | None:
    value = os.environ.get(ALLOW_LIST)
    if value is None:
        return None
    return {_normalized(name.strip()) for name in value.split(",") if name.strip()}


def _order(entry_point: EntryPoint) -> tuple[str, str, str]:
    from ._load import owner

    return _normalized(owner(entry_point)[0]), entry_point.name, entry_point.value


def _normalized(dist: str) -> str:
    return re.sub(r"[-_.]+", "-", dist).lower()
