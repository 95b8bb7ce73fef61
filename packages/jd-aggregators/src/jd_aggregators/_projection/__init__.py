"""Solvers that project onto the dual cone of a Jacobian's rows."""

from ._active_sets import ActiveSetProjector
from ._exact import ExactProjector
from ._quadprog_projector import QuadprogProjector
from ._resident import ResidentProjector

__all__ = ["ActiveSetProjector", "ExactProjector", "QuadprogProjector", "ResidentProjector"]
