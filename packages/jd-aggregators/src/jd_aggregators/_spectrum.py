"""Eigenvalues of Gramians, and which of them are rounding."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

Array = Any
"""A tensor, or an array of numpy: what both can do is written once."""

# The rounding of gradients in float32, which is what most are computed in, has this square. Rows
# that depend on one another up to it are as good as dependent, and a method that divides by what is
# left between them divides by rounding.
_OF_FLOAT32 = torch.finfo(torch.float32).eps ** 2

# The sine of the angle between a row and the others up to which a plain solution is taken: half of
# the digits are left.
REGULAR = 1e-4


class Spectrum(NamedTuple):
    """A symmetric matrix of shape ``[m, m]`` in terms of its eigenvectors.

    :ivar values: The eigenvalues, ascending, of shape ``[m]``.
    :ivar vectors: One eigenvector per column, of shape ``[m, m]``.
    :ivar kept: Which eigenvalues are not rounding, of shape ``[m]``.
    :ivar inverse: The inverse of each eigenvalue that is kept, 0 for the others.
    """

    values: Array
    vectors: Array
    kept: Array
    inverse: Array

    def coordinates(self, vector: Array, noise: float) -> Array:
        """Return ``vector`` along the eigenvectors; exactly 0 where it has nothing to speak of.

        :param vector: Of shape ``[m]``.
        :param noise: The part of its length that is rounding.
        """
        along = vector @ self.vectors
        # What is orthogonal to the range must give 0, not rounding that is then divided by itself.
        counts = along * along > noise * noise * (vector @ vector)
        return along * (self.kept & counts)


def spectrum(xp: Any, matrix: Array, noise: float) -> Spectrum:
    """Return the spectrum of a Gramian or correlation matrix.

    :param xp: The module to compute by, ``torch`` or ``numpy``.
    :param matrix: Of shape ``[m, m]``, finite.
    :param noise: The part of the largest eigenvalue that is rounding.
    """
    values, vectors = xp.linalg.eigh(matrix)
    kept = values > noise * values[-1]
    return Spectrum(values, vectors, kept, kept / xp.where(kept, values, 1.0))


def noise_of(m: int, dtype: torch.dtype) -> float:
    """Return what part of the largest eigenvalue is rounding.

    :param m: The number of rows.
    :param dtype: In which the Gramian was given.
    """
    return max(8, m) * max(torch.finfo(dtype).eps, _OF_FLOAT32)


def unit_rows(xp: Any, G: Array) -> tuple[Array, Array, Array]:
    r"""Return the cosines between the rows, with 0 for a row of zeros, and their lengths.

    :returns: :math:`G_{ij} / (\|g_i\| \|g_j\|)`, of shape ``[m, m]``; :math:`\|g_i\|` and its
        inverse, which is 0 for a row of zeros, of shape ``[m]``.
    """
    lengths = xp.sqrt(G.diagonal())
    live = lengths > 0
    inverse = live / xp.where(live, lengths, 1.0)
    return G * inverse * inverse[:, None], lengths, inverse


def solve_regular(xp: Any, C: Array, b: Array) -> Array | None:
    """Return the solution y of ``C y = b``, or None where it takes a spectrum to find it.

    :param xp: The module to compute by. Only by numpy, which may look at values, is there a choice.
    :param C: The cosines between rows, of shape ``[m, m]``.
    :param b: Of shape ``[m]``.
    """
    if xp is torch:
        return None
    try:
        pivots = xp.linalg.cholesky(C).diagonal()
    except xp.linalg.LinAlgError:
        return None
    return xp.linalg.solve(C, b) if pivots.min() > REGULAR else None


def lengths_of(gramian: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\|g_i\|` and :math:`1 / \|g_i\|`, 0 for a row of zeros, of shape ``[m]``."""
    squares = gramian.diagonal()
    return squares.sqrt(), torch.where(squares > 0, squares.rsqrt(), 0.0)
