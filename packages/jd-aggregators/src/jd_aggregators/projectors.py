"""The table of dual-cone projectors and other solvers: a line a solver."""

from ._min_norm import MinNormSolver as MinNormSolver
from ._projection import (
    ActiveSetProjector as ActiveSetProjector,
    ExactProjector as ExactProjector,
    QuadprogProjector as QuadprogProjector,
    ResidentProjector as ResidentProjector,
)
