"""Aggregators and weightings for Jacobian descent."""

import torchjd as _torchjd

if not getattr(_torchjd, "__jd_core__", False):
    raise ImportError(
        "`jd-aggregators` needs the `torchjd` of jd-core, and found that of another distribution, "
        "which has its place: `pip uninstall torchjd jd-core`, then `pip install jd-core`."
    )

from ._constant import Constant, ConstantWeighting
from ._dualproj import DualProj, DualProjWeighting
from ._flattening import Flattening
from ._mean import Mean, MeanWeighting
from ._min_norm import MinNormSolver
from ._projection import (
    ActiveSetProjector,
    ExactProjector,
    QuadprogProjector,
    ResidentProjector,
)
from ._random import Random, RandomWeighting
from ._sum import Sum, SumWeighting
from ._upgrad import UPGrad, UPGradWeighting

__all__ = [
    "ActiveSetProjector",
    "Constant",
    "ConstantWeighting",
    "DualProj",
    "DualProjWeighting",
    "ExactProjector",
    "Flattening",
    "Mean",
    "MeanWeighting",
    "MinNormSolver",
    "QuadprogProjector",
    "Random",
    "RandomWeighting",
    "ResidentProjector",
    "Sum",
    "SumWeighting",
    "UPGrad",
    "UPGradWeighting",
]
