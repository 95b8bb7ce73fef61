"""Aggregators and weightings for Jacobian descent."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

import torchjd as _torchjd

if not getattr(_torchjd, "__jd_core__", False):
    raise ImportError(
        "`jd-aggregators` needs the `torchjd` of jd-core, and found that of another distribution, "
        "which has its place: `pip uninstall torchjd jd-core`, then `pip install jd-core`."
    )

if TYPE_CHECKING:  # the tables, as type checkers and editors read them
    from .aggregators import *
    from .projectors import *

__all__: list[str] = []

_TABLES = ("jd_aggregators.aggregators", "jd_aggregators.projectors")

if not TYPE_CHECKING:  # hidden from type checkers, for whom it would make any misspelt name `Any`

    def __getattr__(name):
        from ._table import places

        for table in _TABLES:
            place = places(table).get(name)
            if place is not None:
                module, attribute = place.split(":")
                globals()[name] = getattr(_import_module(module), attribute)
                return globals()[name]
        raise AttributeError(f"module 'jd_aggregators' has no attribute {name!r}")

    def __dir__():
        from ._table import places

        return sorted({*globals(), *(name for table in _TABLES for name in places(table))})
