"""The Gramian of many losses, at nearly the cost of one backward pass."""

from ._engine import Engine
from ._report import ParameterReport, Report

__all__ = ["Engine", "ParameterReport", "Report"]
