"""Solvers that project onto the dual cone of a Jacobian's rows."""

from ._exact import ExactProjector

__all__ = ["ExactProjector"]
