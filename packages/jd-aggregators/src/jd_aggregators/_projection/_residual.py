"""The KKT residual of the projection problem, by which solutions are judged and chosen."""

import torch
from torch import Tensor


def residual(C: Tensor, Q: Tensor, W: Tensor) -> Tensor:
    r"""Return how far each row of ``W`` is from solving its problem.

    .. math:: \frac{\max_j \max(-w_j, \, -z_j, \, |w_j z_j|)}{1 + \sum_j |w_j|}, \qquad z = C w + q

    :param C: Correlation matrices of shape ``[..., m, m]``.
    :param Q: One problem a row, of shape ``[..., k, m]``.
    :param W: Their solutions, of the shape of ``Q``.
    :returns: A tensor of shape ``[..., k]``; infinite where the residual is not finite.
    """
    Z = torch.matmul(W, C) + Q
    worst = torch.maximum((W * Z).abs(), -torch.minimum(W, Z)).amax(-1)
    return (worst / (1.0 + W.abs().sum(-1))).nan_to_num(nan=torch.inf, posinf=torch.inf)


def error_bound(C: Tensor, Q: Tensor, W: Tensor, noise: float) -> Tensor:
    r"""Return how far each row of ``W`` may be from solving its problem with the true :math:`C`.

    That is the residual before it is made relative, plus what the rounding of ``C`` may add to it:
    of solutions that are as good for all that can be known, the shortest has the least.

    :param noise: The rounding that entries of ``C`` carry.
    :returns: A tensor of shape ``[..., k]``; infinite where the residual is not finite.
    """
    bound = (residual(C, Q, W) + noise) * (1.0 + W.abs().sum(-1))
    return bound.nan_to_num(nan=torch.inf, posinf=torch.inf)
