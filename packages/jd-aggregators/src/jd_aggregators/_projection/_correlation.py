"""Rows scaled out: the projection problem on the correlation Gramian."""

from collections.abc import Callable

import torch
from torch import Tensor


def correlation(G: Tensor, damping: float = 0.0) -> tuple[Tensor, Tensor]:
    r"""Return :math:`C_{ij} = G_{ij} / (\|g_i\| \|g_j\|)`, plus the damping on its diagonal.

    The dual cone does not depend on the lengths of the rows, and the error of a computed
    :math:`G_{ij}` is relative to :math:`\|g_i\| \|g_j\|`: on the correlation matrix one tolerance
    fits all rows.

    :param G: Gramians of shape ``[..., m, m]``.
    :param damping: What is added to each diagonal entry, which is 1.
    :returns: The matrices, of shape ``[..., m, m]``, zero rows being those of the identity; and
        :math:`1 / \|g_i\|`, 0 for a zero row, of shape ``[..., m]``. All NaN where a Gramian is not
        finite.
    """
    squares = G.diagonal(dim1=-2, dim2=-1)
    # A row whose square is rounding on the scale of the others' products has a true direction all
    # the same: only an exact zero has none.
    live = squares > 0
    scales = live / torch.where(live, squares, 1.0).sqrt()
    C = G * scales[..., :, None] * scales[..., None, :]
    poison = (G - G).sum((-2, -1))[..., None]  # 0, or NaN where an entry is not finite
    identity = torch.eye(G.shape[-1], dtype=torch.bool, device=G.device)
    C = torch.where(identity, 1.0 + damping, C.clamp(-1.0, 1.0)) + poison[..., None]
    return C, scales + poison


def project(
    U: Tensor, G: Tensor, damping: float, solve: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    r"""Return ``U`` plus what takes each combination into the dual cone.

    :param U: Combinations of the rows, of shape ``[..., k, m]``.
    :param G: Gramians of shape ``[..., m, m]``, of the same dtype.
    :param damping: What is added to the diagonal of the correlation Gramian.
    :param solve: From ``C [..., m, m]``, ``Q = S C`` and ``S [..., k, m]`` to the
        :math:`w \ge 0` that minimise :math:`\tfrac12 w^\top C w + q^\top w`, of the shape of ``Q``.
        The absolute values in a row of ``S`` sum to 1. Where ``Q`` is not finite it does not matter
        what is returned.
    :returns: The weights of the projections, of the shape of ``U``. NaN where ``G`` is not finite,
        and in the row of a combination that is not.
    """
    C, scales = correlation(G, damping)
    scales = scales[..., None, :]
    S = torch.where(scales == 0, 0.0, U / scales)
    sizes = S.abs().sum(-1, keepdim=True)
    sizes = torch.where(sizes == 0, 1.0, sizes)
    S = S / sizes
    Q = S @ C
    poison = (Q - Q).sum(-1, keepdim=True)
    return U + solve(C, Q, S) * (sizes * scales) + poison
