"""Interfaces of aggregators and weightings; every discovered method by its name.

``from torchjd.aggregation import UPGrad`` finds what installed plugins offer, when a name is first
asked for. :func:`torchjd.plugins.list_plugins` shows who offers what.
"""

from typing import TYPE_CHECKING

from ._aggregator import Aggregator, GramianWeightedAggregator, WeightedAggregator
from ._stateful import Stateful
from ._weighting import GeneralizedWeighting, GramianWeighting, MatrixWeighting, Weighting

if TYPE_CHECKING:  # what the first-party plugin offers, for type checkers and editors
    from jd_aggregators import Constant as Constant
    from jd_aggregators import ConstantWeighting as ConstantWeighting
    from jd_aggregators import DualProj as DualProj
    from jd_aggregators import DualProjWeighting as DualProjWeighting
    from jd_aggregators import Flattening as Flattening
    from jd_aggregators import Mean as Mean
    from jd_aggregators import MeanWeighting as MeanWeighting
    from jd_aggregators import Random as Random
    from jd_aggregators import RandomWeighting as RandomWeighting
    from jd_aggregators import Sum as Sum
    from jd_aggregators import SumWeighting as SumWeighting
    from jd_aggregators import UPGrad as UPGrad
    from jd_aggregators import UPGradWeighting as UPGradWeighting

__all__ = [
    "Aggregator",
    "GeneralizedWeighting",
    "GramianWeightedAggregator",
    "GramianWeighting",
    "MatrixWeighting",
    "Stateful",
    "WeightedAggregator",
    "Weighting",
]

if not TYPE_CHECKING:  # hidden from type checkers, for whom it would make any misspelt name `Any`

    def __getattr__(name):
        from torchjd.plugins import discovered

        return discovered("aggregation", name)

    def __dir__():
        from torchjd.plugins import discovered_names

        return sorted({*__all__, *discovered_names("aggregation")})
