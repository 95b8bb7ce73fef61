"""Matrices, Gramians and the interface of the dual-cone solvers."""

from ._dual_cone import DualConeProjector
from ._reshape import flatten_gramian
from ._types import Matrix, PSDMatrix

__all__ = ["DualConeProjector", "Matrix", "PSDMatrix", "flatten_gramian"]
