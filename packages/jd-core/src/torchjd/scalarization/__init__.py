"""The interface of scalarizers; every discovered one by its name.

``from torchjd.scalarization import STCH`` finds what installed plugins offer, when a name is first
asked for.
"""

from typing import TYPE_CHECKING

from ._methods import ScalarizerMethod, methods
from ._scalarizer import Scalarizer

if TYPE_CHECKING:  # what the first-party plugin offers, for type checkers and editors
    from jd_aggregators.scalarizers import *  # noqa: F403  (a table of names)

__all__ = ["Scalarizer", "ScalarizerMethod", "methods"]

if not TYPE_CHECKING:  # hidden from type checkers, for whom it would make any misspelt name `Any`

    def __getattr__(name):
        from torchjd.plugins import discovered

        return discovered("scalarization", name)

    def __dir__():
        from torchjd.plugins import discovered_names

        return sorted({*__all__, *discovered_names("scalarization")})
