"""The projector that computes where the Gramian is."""

import torch
from torch import Tensor

from ._base import CorrelationProjector, ridge, rounding
from ._correlation import project
from ._on_device import solve_on_device


class ResidentProjector(CorrelationProjector):
    r"""Project onto the dual cone on the device of the Gramian, a whole batch at a time.

    .. math:: \min_{w \ge 0} \; \tfrac12 w^\top C w + q^\top w, \qquad C_{ij} =
        \frac{G_{ij}}{\|g_i\| \|g_j\|}

    Up to 8 rows all active sets are tried; up to 512 an interior-point method finds them; beyond,
    gradient steps and block pivoting do, and the interior-point method helps where they fail. Each
    takes a fixed number of operations whose shapes depend on no value, and nothing is copied to the
    host: the projector can be compiled whole, and captured in a CUDA graph. It computes in float64
    (float32 on devices without).

    Up to 512 rows, from a float64 Gramian, no row :math:`g_i` has
    :math:`g_i \cdot d < -10^{-9} \|g_i\| \max_j \|g_j\|`. Beyond, that holds where at most a
    quarter of the combinations is ill-conditioned: ``solve(U, G, certify=True)`` tells.

    :param damping: What is added to the diagonal of the correlation Gramian, whose mean is 1.
    :raises TypeError: If ``damping`` is no real number.
    :raises ValueError: If ``damping`` is negative or not finite.

    >>> import torch
    >>> from torchjd.linalg import ResidentProjector
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> U = torch.eye(2, dtype=torch.float64)
    >>> ResidentProjector()(U, J @ J.T)
    tensor([[1.0000, 0.5000],
            [1.0000, 1.0000]], dtype=torch.float64)
    """

    def _project(self, U: Tensor, G: Tensor, start: Tensor | None) -> Tensor:
        return project_on_device(U, G, self.damping, start)


def project_on_device(U: Tensor, G: Tensor, damping: float, start: Tensor | None) -> Tensor:
    """Return the weights of the projections, in float64 (float32 on devices without).

    The parameters are those of :func:`project_on_cpu`.
    """
    m = G.shape[-1]
    wide = torch.float32 if G.device.type == "mps" else torch.float64
    noise = rounding(m, wide)

    def solve(C: Tensor, Q: Tensor, _: Tensor) -> Tensor:
        return solve_on_device(C, Q, noise, start)

    return project(U.to(wide), G.to(wide), damping + ridge(m, G.dtype), solve)
