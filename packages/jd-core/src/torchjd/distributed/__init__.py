"""Jacobian descent where a process group is initialised."""

from ._local import local

__all__ = ["local"]
