"""Matrices, Gramians and the interface of the dual-cone solvers; every discovered solver.

``from torchjd.linalg import QuadprogProjector`` finds what installed plugins offer, when a name is
first asked for.
"""

from typing import TYPE_CHECKING

from ._cross_gramian import cross_gramian
from ._dual_cone import DualConeProjector, Projection
from ._kkt import KKTResidual, kkt_residual
from ._reshape import flatten_gramian
from ._types import Matrix, PSDMatrix

if TYPE_CHECKING:  # what the first-party plugin offers, for type checkers and editors
    from jd_aggregators.projectors import *  # noqa: F403  (a table of names)

__all__ = [
    "DualConeProjector",
    "KKTResidual",
    "Matrix",
    "PSDMatrix",
    "Projection",
    "cross_gramian",
    "flatten_gramian",
    "kkt_residual",
]

if not TYPE_CHECKING:  # hidden from type checkers, for whom it would make any misspelt name `Any`

    def __getattr__(name):
        from torchjd.plugins import discovered

        return discovered("linalg", name)

    def __dir__():
        from torchjd.plugins import discovered_names

        return sorted({*__all__, *discovered_names("linalg")})
