"""Linear systems on subsets of the rows, one subset a right-hand side."""

import torch
from torch import Tensor


def with_spare_rows(matrix: Tensor) -> Tensor:
    """Return ``matrix`` and an identity behind it, of shape ``[2 m, 2 m]``.

    Subsets of different sizes are filled up with rows of the identity, which change nothing.
    """
    m = matrix.shape[0]
    spare = torch.eye(2 * m, dtype=matrix.dtype, device=matrix.device)
    spare[:m, :m] = matrix
    return spare


class Face:
    r"""The factors of :math:`C_{FF}` for several faces :math:`F`: sets of rows that get weight.

    :param spare: ``C`` with spare rows.
    :param faces: A face a row, of shape ``[k, m]``, dtype bool.
    :ivar singular: For each face, whether ``C_FF`` was found to be singular, of shape ``[k]``.
    """

    def __init__(self, spare: Tensor, faces: Tensor) -> None:
        m = faces.shape[1]
        counts = faces.sum(1)
        n = max(1, int(counts.max()))
        self._faces = faces
        self._order = torch.argsort(faces, dim=1, descending=True, stable=True)[:, :n]
        self._inside = torch.arange(n, device=faces.device) < counts[:, None]
        filling = torch.arange(m, m + n, device=faces.device)
        rows = torch.where(self._inside, self._order, filling)
        self._blocks = spare.view(-1).take((rows * (2 * m))[:, :, None] + rows[:, None, :])
        self._factors, info = torch.linalg.cholesky_ex(self._blocks)
        self.singular = info > 0

    def solve(self, rhs: Tensor, refinements: int = 0) -> Tensor:
        r"""Return the solutions of :math:`C_{FF} x_F = b_F`, with zeros elsewhere.

        :param rhs: The right-hand sides :math:`b`, of shape ``[k, m]``; outside of the faces they
            do not matter.
        :param refinements: How often to correct the solution by its own residual.
        :returns: A tensor of shape ``[k, m]``; NaN on singular faces.
        """
        b = torch.where(self._inside, rhs.gather(1, self._order), 0.0)[:, :, None]
        x = torch.cholesky_solve(b, self._factors)
        for _ in range(refinements):
            x = x + torch.cholesky_solve(b - self._blocks @ x, self._factors)
        x = torch.where(self._inside & ~self.singular[:, None], x[:, :, 0], 0.0)
        x = torch.zeros_like(rhs).scatter_(1, self._order, x)
        return torch.where(self._faces & self.singular[:, None], torch.nan, x)
