"""Discovered methods by name in Lightning's command line and its YAML files.

jsonargparse, which reads them, knows a class by its name alone once the class is imported, and asks
the annotated class for its subclasses; plugins are imported when a name is asked for. Here the two
meet: the first question after the subclasses of an aggregator or a weighting, in a process that
has jsonargparse, imports what plugins offer.
"""

import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Weighting
from torchjd.plugins import PluginError, PluginWarning, discovered_names

_KINDS: tuple[Literal["aggregation", "linalg"], ...] = ("aggregation", "linalg")
_PARSER = "jsonargparse"


class _State:
    """Whether the plugins have been imported for a command line, or are being so."""

    asked = False


def offer_names() -> None:
    """Let a command line find aggregators and weightings of plugins by name; import none yet."""
    for base in (Aggregator, Weighting):
        type.__setattr__(base, "__subclasses__", classmethod(_subclasses))


def _subclasses(cls: type) -> list[type]:
    # Others ask too: `isinstance` with an abstract class. No plugin is imported for them.
    if _PARSER in sys.modules and not _State.asked:
        _State.asked = True
        _import_plugins()
        _read_tensors()
    return type.__subclasses__(cls)


def _import_plugins() -> None:
    """Import every discovered method; say which cannot be had, and why."""
    failed = []
    for kind in _KINDS:
        module = import_module(f"torchjd.{kind}")
        try:
            names = discovered_names(kind)
        except PluginError:
            # In the middle of discovery, where a plugin's own import asks: at the next time.
            _State.asked = False
            return
        for name in names:
            try:
                getattr(module, name)
            except PluginError as error:
                failed.append(str(error))
    # At the end: where warnings are errors, the other names are there all the same.
    for message in failed:
        warnings.warn(message, PluginWarning, stacklevel=2)


def _read_tensors() -> None:
    """Let the settings that are tensors, preferences for instance, be given as lists."""
    from jsonargparse.typing import register_type

    # Whoever registered tensors before knows better what theirs look like.
    with suppress(ValueError):
        register_type(
            Tensor,
            serializer=Tensor.tolist,
            deserializer=_as_tensor,
            deserializer_exceptions=(TypeError, ValueError, RuntimeError),
            type_check=isinstance,
            fail_already_registered=True,
        )


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, list | int | float) or isinstance(value, bool):
        raise TypeError(f"A tensor must be given as a list of numbers. Got {value!r}.")
    return torch.tensor(value, dtype=torch.get_default_dtype())
