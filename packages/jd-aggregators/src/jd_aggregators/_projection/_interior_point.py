"""A primal-dual interior-point method with a fixed number of iterations."""

import torch
from torch import Tensor

from ._masked import solve_on_sets
from ._residual import error_bound

# Most problems take 12 to 20. Where the cone has no interior, for example between opposite rows,
# the error falls by a factor of 2.5 in each.
_ITERATIONS = 27
# The part of the way to the boundary that a step may go.
_FRACTION = 0.995
# How much farther a step along the central path must lead than one of second order to be preferred.
_WORTHWHILE = 1.1


def solve_by_interior_point(C: Tensor, Q: Tensor, noise: float) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    Mehrotra's predictor-corrector method, with safeguards, on :math:`z = C w + q`,
    :math:`w_j z_j = \mu \to 0`; then the exact solution on the set
    :math:`\{j \mid w_j > z_j\}`, where that is the better one. With the residual
    :math:`r = C w + q - z` and :math:`D = \mathrm{diag}(z_j / w_j)`, a step that aims at
    :math:`\Delta w_j / w_j + \Delta z_j / z_j = c_j` is

    .. math:: (C + D) \Delta w = z c - r, \qquad \Delta z = z c - D \Delta w

    Source: Nocedal and Wright, "Numerical Optimization", 2006, algorithm 16.4.

    :param C: Correlation matrices of shape ``[..., m, m]``.
    :param Q: One problem a row, of shape ``[..., k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :returns: A tensor of the shape of ``Q``.
    """
    w, z = torch.ones_like(Q), 1.0 + Q.abs().amax(-1, keepdim=True).expand_as(Q)
    identity = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device)
    matrix = (C + noise * identity)[..., None, :, :]
    for _ in range(_ITERATIONS):
        w, z = _step(C, Q, w, z, matrix, identity)
    active = w > z
    central = torch.where(active, w, 0.0)
    exact = solve_on_sets(C, Q, active, noise, central).clamp_min(0.0)
    better = error_bound(C, Q, exact, noise) <= error_bound(C, Q, central, noise)
    return torch.where(better[..., None], exact, central)


def _step(
    C: Tensor, Q: Tensor, w: Tensor, z: Tensor, matrix: Tensor, identity: Tensor
) -> tuple[Tensor, Tensor]:
    r = torch.matmul(w, C) + Q - z
    ratio = z / w
    factors, info = torch.linalg.cholesky_ex(torch.addcmul(matrix, identity, ratio[..., None]))
    sound = (info == 0)[..., None]

    def direction(zc: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the step, and how far it can be gone."""
        dw = torch.cholesky_solve((zc - r)[..., None], factors)[..., 0]
        dw = torch.where(sound, dw, 0.0)
        dz = zc - ratio * dw
        blocked = torch.maximum(-dw / w, -dz / z).amax(-1, keepdim=True)
        return dw, dz, torch.where(sound, _FRACTION / blocked.clamp_min(_FRACTION), 0.0)

    mu = (w * z).mean(-1, keepdim=True)
    dw, dz, length = direction(-z)  # the predictor, which aims at w z = 0
    reached = ((w + length * dw) * (z + length * dz)).mean(-1, keepdim=True)
    centring = (reached / mu) ** 3
    # Unbounded, the second-order term may send a row to its bound at which it is stuck for good.
    second_order = (dw / w * (dz / z)).clamp(-1.0, 1.0)
    dw, dz, length = direction(z * (-1.0 - second_order) + centring * mu / w)
    # Now and then it even leads in circles. A step along the central path leads out of them.
    safe_dw, safe_dz, safe_length = direction(-z + centring.clamp_min(0.1) * mu / w)
    safe = safe_length > _WORTHWHILE * length
    length = torch.where(safe, safe_length, length)
    w = w + length * torch.where(safe, safe_dw, dw)
    z = z + length * torch.where(safe, safe_dz, dz)
    smallest = torch.finfo(C.dtype).tiny ** 0.5  # products and quotients are finite, and not zero
    return w.clamp_min(smallest), z.clamp_min(smallest)
