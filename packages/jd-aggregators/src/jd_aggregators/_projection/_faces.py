"""Linear systems on faces, on the side where they are small."""

import torch
from torch import Tensor

from ._face import Face, with_spare_rows

# Elements of the gathered blocks that are in memory at a time: 256 KiB of float64 stay in the cache
# of a core, where gathering and factorising are twice as fast as on 8 MiB of blocks.
_CHUNK = 1 << 15
# From which share of the rows on the system of the complement is the smaller one.
_MOST = 0.6


class Faces:
    r"""Solve :math:`C_{FF} x_F = b_F`, with zeros elsewhere, for many faces :math:`F`.

    Where a face holds most rows, the system of its complement :math:`A` in :math:`H = C^{-1}` is
    solved instead: :math:`(C_{FF})^{-1} = H_{FF} - H_{FA} (H_{AA})^{-1} H_{AF}`.

    :param C: A positive definite matrix of shape ``[m, m]``.
    :param factor: Its lower Cholesky factor.
    """

    def __init__(self, C: Tensor, factor: Tensor) -> None:
        self._spare = with_spare_rows(C)
        self._factor = factor
        self._inverse: Tensor | None = None

    def solve(self, faces: Tensor, rhs: Tensor) -> Tensor:
        """Return the solutions, of shape ``[k, m]``; NaN where rounding made a system singular.

        :param faces: A face a row, of shape ``[k, m]``, dtype bool.
        :param rhs: The right-hand sides, of shape ``[k, m]``.
        """
        most = faces.sum(1) > _MOST * faces.shape[1]
        if not bool(most.any()):
            return _in_chunks(self._spare, faces, rhs)
        if bool(most.all()):
            return self._by_complement(faces, rhs)
        x = torch.empty_like(rhs)
        x[most] = self._by_complement(faces[most], rhs[most])
        x[~most] = _in_chunks(self._spare, faces[~most], rhs[~most])
        return x

    def _by_complement(self, faces: Tensor, rhs: Tensor) -> Tensor:
        if self._inverse is None:
            self._inverse = with_spare_rows(torch.cholesky_inverse(self._factor))
        m = faces.shape[1]
        H = self._inverse[:m, :m]
        x = torch.where(faces, rhs, 0.0) @ H
        x = torch.addmm(x, _in_chunks(self._inverse, ~faces, x), H, alpha=-1.0)
        return torch.where(faces, x, 0.0)


def _in_chunks(spare: Tensor, faces: Tensor, rhs: Tensor) -> Tensor:
    most = max(1, int(faces.sum(1).max()))
    size = max(1, _CHUNK // most**2)
    parts = zip(torch.split(faces, size), torch.split(rhs, size), strict=True)
    return torch.cat([Face(spare, face).solve(b) for face, b in parts])
