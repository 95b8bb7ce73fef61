"""Interfaces of aggregators and weightings; every discovered method by its name.

``from torchjd.aggregation import UPGrad`` finds what installed plugins offer, when a name is first
asked for. :func:`torchjd.plugins.list_plugins` shows who offers what.
"""

from typing import TYPE_CHECKING

from ._aggregator import Aggregator
from ._gramian_weighted_aggregator import GramianWeightedAggregator
from ._methods import Method, methods
from ._stateful import Stateful
from ._traits import Traits
from ._weighted_aggregator import WeightedAggregator
from ._weighting import GeneralizedWeighting, GramianWeighting, MatrixWeighting, Weighting
from ._wrapping_weighting import WrappingWeighting

if TYPE_CHECKING:  # what the first-party plugin offers, for type checkers and editors
    from jd_aggregators.aggregators import *  # noqa: F403  (a table of names)

__all__ = [
    "Aggregator",
    "GeneralizedWeighting",
    "GramianWeightedAggregator",
    "GramianWeighting",
    "MatrixWeighting",
    "Method",
    "Stateful",
    "Traits",
    "WeightedAggregator",
    "Weighting",
    "WrappingWeighting",
    "methods",
]

if not TYPE_CHECKING:  # hidden from type checkers, for whom it would make any misspelt name `Any`

    def __getattr__(name):
        from torchjd.plugins import discovered

        return discovered("aggregation", name)

    def __dir__():
        from torchjd.plugins import discovered_names

        return sorted({*__all__, *discovered_names("aggregation")})
