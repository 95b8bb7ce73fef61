"""Discovered names as attributes of a public module."""

import warnings
from importlib import import_module
from typing import Any

from ._discovery import registry
from ._errors import PluginError, PluginWarning, cause
from ._registry import Kind, Offer, Registry

_INSTALL = "`pip install jd-aggregators`"


def discovered(kind: Kind, name: str) -> Any:
    """Return the object that plugins call ``name``: the ``__getattr__`` of a public module.

    :raises PluginConflictError: If several plugins offer it.
    :raises PluginError: If the one that offers it cannot import it.
    :raises AttributeError: If none does; a warning says what to install, or which name is close.
    """
    if name.startswith("_"):
        raise AttributeError(f"module 'torchjd.{kind}' has no attribute {name!r}")
    found = registry()
    offer = found.find(kind, name)
    if offer is not None:
        return _import(kind, name, offer)
    hint = _hint(kind, name, found)
    # `from torchjd.x import Y` drops the text of an AttributeError: only a warning reaches people.
    if hint:
        warnings.warn(f"`torchjd.{kind}.{name}` was not found. {hint}", PluginWarning, stacklevel=3)
    raise AttributeError(f"module 'torchjd.{kind}' has no attribute {name!r}. {hint}".rstrip())


def discovered_names(kind: Kind) -> list[str]:
    """Return the names that plugins offer under ``torchjd.<kind>``, sorted."""
    return registry().names(kind)


def _import(kind: Kind, name: str, offer: Offer) -> Any:
    module, attribute = offer.target.split(":")
    try:
        return getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"`torchjd.{kind}.{name}` comes from {offer}, which failed to import: "
            f"{cause(error)}. Upgrade or reinstall {offer.plugin.dist}."
        ) from error


def _hint(kind: Kind, name: str, found: Registry) -> str:
    similar = found.similar(kind, name)
    if similar is not None:
        return f"Did you mean `{similar}`?"
    if not found.plugins:
        return f"No plugin is installed: {_INSTALL}."
    out = [f"{p.dist} ({p.error})" for p in found.plugins if p.status != "ok"]
    if out:
        return f"Plugins left out: {'; '.join(out)}."
    return "" if any(p.dist in _INSTALL for p in found.plugins) else f"More methods: {_INSTALL}."
