"""Static types of the matrices that pass between the engines and the methods."""

from typing import NewType

from torch import Tensor

Matrix = NewType("Matrix", Tensor)
"""A real floating-point tensor of shape ``[m, n]``; known to type checkers, free at run time."""

PSDMatrix = NewType("PSDMatrix", Matrix)
"""A :data:`Matrix` of shape ``[m, m]`` that is symmetric and positive semi-definite."""
