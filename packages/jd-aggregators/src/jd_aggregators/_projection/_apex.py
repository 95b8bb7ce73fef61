"""Cones that hold nothing but their apex."""

import torch
from torch import Tensor

from ._lawson_hanson import solve_by_lawson_hanson
from ._pivoting import SINGULAR


def solve_at_apex(C: Tensor, S: Tensor, noise: float) -> Tensor | None:
    r"""Return the solutions where every combination has the projection 0, else None.

    That is so where the sum of all rows has: then some :math:`v > 0` has :math:`J^\top v = 0`, so
    that the cone holds nothing but what is orthogonal to all rows, and multiples of :math:`v` are
    the weights of all projections. One problem is solved instead of many.

    :param C: A correlation matrix of shape ``[m, m]``.
    :param S: The combinations, of shape ``[k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :returns: The weights, of shape ``[k, m]``, at least 0.
    """
    factor, info = torch.linalg.cholesky_ex(C)
    if not int(info) and float(factor.diagonal().min()) ** 2 > SINGULAR * noise:
        return None
    total = C.sum(0, keepdim=True)
    start = torch.zeros_like(total, dtype=torch.bool)
    v = 1.0 + solve_by_lawson_hanson(C, total, noise, start)[0]
    if float((v @ C).abs().max()) > noise * float(v.sum()):
        return None
    return (S / v).amax(1, keepdim=True).clamp_min(0.0) * v - S
