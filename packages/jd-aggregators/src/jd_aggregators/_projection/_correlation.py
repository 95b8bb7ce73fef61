"""Rows scaled out: the projection problem on the correlation Gramian."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CorrelationProblem:
    r"""The problem :math:`\min_{w \ge 0} \|\hat J^\top (\hat u + w)\|^2`, with rows of length 1.

    The dual cone does not depend on the lengths of the rows, and the error of a computed
    :math:`G_{ij}` is relative to :math:`\|g_i\| \|g_j\|`: on the correlation matrix
    :math:`C_{ij} = G_{ij} / (\|g_i\| \|g_j\|)` one tolerance fits all rows.

    :ivar C: The correlation matrix, of shape ``[m, m]``, float64 on the CPU; zero rows are those
        of the identity.
    :ivar U: The combinations to project, in terms of the scaled rows, of shape ``[k, m]``, each
        scaled to a largest entry of 1.
    :ivar lengths: The length of each row, of shape ``[m]``.
    :ivar sizes: By how much each combination was scaled, of shape ``[k, 1]``.
    :ivar noise: The rounding that entries of ``C`` carry.
    """

    C: Tensor
    U: Tensor
    lengths: Tensor
    sizes: Tensor
    noise: float

    @staticmethod
    def of(U: Tensor, G: Tensor) -> "CorrelationProblem":
        """Scale out the rows of the problem of ``U [k, m]`` and ``G [m, m]``."""
        eps = max(torch.finfo(G.dtype).eps, torch.finfo(torch.float64).eps)
        G = G.detach().to("cpu", torch.float64)
        U = U.detach().to("cpu", torch.float64)
        # A row whose square is rounding on the scale of the others' products has a true direction
        # all the same: only an exact zero has none.
        lengths = G.diagonal().clamp_min(0.0).sqrt()
        scale = torch.where(lengths > 0, lengths, 1.0)
        C = (G / scale[:, None] / scale).clamp(-1.0, 1.0)
        C = (C + C.T) / 2
        C.fill_diagonal_(1.0)
        zero = lengths == 0
        C[zero] = 0.0
        C[:, zero] = 0.0
        C.diagonal()[zero] = 1.0
        scaled = U * lengths
        sizes = scaled.abs().amax(dim=1, keepdim=True)
        sizes = torch.where(sizes > 0, sizes, 1.0)
        return CorrelationProblem(C, scaled / sizes, scale, sizes, max(8, len(G)) * eps)

    def weights(self, w: Tensor, U: Tensor) -> Tensor:
        """Return the weights of the original rows, ``U`` plus what the scaled ones need."""
        added = w * self.sizes / self.lengths
        return (U.detach().to("cpu", torch.float64) + added).to(U.device)
