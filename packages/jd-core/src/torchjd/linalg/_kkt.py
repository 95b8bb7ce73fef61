"""The certificate of a projection onto the dual cone: its KKT residual."""

from typing import NamedTuple

import torch
from torch import Tensor


class KKTResidual(NamedTuple):
    r"""How far weights are from those of a projection, in the three ways there are.

    Relative to the lengths of the rows and of the combination, so without units; 0 for the exact
    projection, and some units of the rounding of the Gramian for one that is as good as exact.

    :ivar primal: By how much a row conflicts with the projection, at worst.
    :ivar dual: By how much a weight lies below its bound, at worst.
    :ivar complementarity: By how much a weight is above its bound although its row has slack.
    """

    primal: Tensor
    dual: Tensor
    complementarity: Tensor


def kkt_residual(U: Tensor, G: Tensor, V: Tensor, damping: float = 0.0) -> KKTResidual:
    r"""Return how far each row of ``V`` is from solving :math:`\min_{v \ge u} v^\top G v`.

    With :math:`w = v - u`, :math:`z = G v`, row lengths :math:`\ell_j = \sqrt{G_{jj}}` and
    :math:`s = \sum_j |u_j| \ell_j`, the three residuals are the largest over :math:`j` of

    .. math:: \frac{-z_j}{s \, \ell_j}, \qquad \frac{-w_j \ell_j}{s}, \qquad
        \frac{|w_j z_j|}{s^2},

    and at least 0. These are the conditions of Karush, Kuhn and Tucker (Boyd and Vandenberghe,
    "Convex Optimization", 2004, section 5.5.3). Any solution can be judged, whoever computed it;
    nothing is copied to the host.

    :param U: The combinations, of shape ``[..., k, m]``.
    :param G: The Gramian, of shape ``[..., m, m]``.
    :param V: The weights of the projections, of the shape of ``U``.
    :param damping: That of the projector: ``G`` counts with a diagonal ``1 + damping`` times its
        own.
    :returns: Three tensors of shape ``[..., k]``, float64. NaN where an input is not finite.

    >>> import torch
    >>> from torchjd.linalg import kkt_residual
    >>> G = torch.tensor([[1.0, -1.0], [-1.0, 2.0]])
    >>> right, wrong = torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.0]])
    >>> float(kkt_residual(torch.tensor([[1.0, 0.0]]), G, right).primal)
    0.0
    >>> round(float(kkt_residual(torch.tensor([[1.0, 0.0]]), G, wrong).primal), 4)
    0.7071
    """
    wide = torch.float32 if G.device.type == "mps" else torch.float64
    u, v, gramian = (tensor.detach().to(wide) for tensor in (U, V, G))
    squares = gramian.diagonal(dim1=-2, dim2=-1)
    z = v @ gramian + damping * squares[..., None, :] * v
    lengths = squares.clamp_min(0.0).sqrt()[..., None, :]
    size = (u.abs() * lengths).sum(-1, keepdim=True)
    size = torch.where(size == 0, lengths.amax(-1, keepdim=True), size)
    size = torch.where(size == 0, 1.0, size)
    slack = z / torch.where(lengths == 0, 1.0, lengths) / size
    added = (v - u) * lengths / size
    poison = (z - z).sum(-1, keepdim=True) + (gramian - gramian).sum((-2, -1))[..., None, None]
    poison = poison + (size - size)
    worst = (-slack, -added, (added * slack).abs())
    return KKTResidual(*((part + poison).amax(-1).clamp_min(0.0) for part in worst))
