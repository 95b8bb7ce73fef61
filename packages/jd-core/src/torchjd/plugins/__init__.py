"""Discovery of plugins, and what a plugin is made of.

A plugin is an installed distribution with an entry point in the group ``torchjd`` whose target is a
light module of functions marked with :data:`hookimpl`.
"""

from typing import TYPE_CHECKING, Any

from ._discovery import list_plugins
from ._errors import PluginConflictError, PluginError, PluginWarning
from ._namespace import discovered, discovered_names
from ._registry import Plugin

if TYPE_CHECKING:
    from ._hookspecs import hookimpl

__all__ = [
    "Plugin",
    "PluginConflictError",
    "PluginError",
    "PluginWarning",
    "discovered",
    "discovered_names",
    "hookimpl",
    "list_plugins",
]


def __getattr__(name: str) -> Any:
    # pluggy is imported by whoever writes or loads plugins, not by `import torchjd`.
    if name == "hookimpl":
        from ._hookspecs import hookimpl

        return hookimpl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
