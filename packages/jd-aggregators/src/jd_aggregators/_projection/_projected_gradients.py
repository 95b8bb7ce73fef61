"""A bound-constrained conjugate gradient method: two matrix products a step."""

import torch
from torch import Tensor

_STEPS = 48


def descend(C: Tensor, Q: Tensor, W: Tensor) -> Tensor:
    r"""Return nearly the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    Modified proportioning with reduced gradient projections: conjugate gradients on the positive
    weights until one would become negative, then a projected gradient step of fixed length; and a
    step along the gradient of the weights at zero where that is the larger one. Source: Dostal and
    Schoeberl, "Minimizing quadratic functions subject to bound constraints with the rate of
    convergence and finite termination", 2005, algorithm 5.1.

    :param C: Correlation matrices of shape ``[b, m, m]``.
    :param Q: One problem a row, of shape ``[b, k, m]``.
    :param W: What to start from, of the shape of ``Q``, at least 0.
    :returns: A tensor of the shape of ``Q``, at least 0.
    """
    # The Frobenius norm of the fourth power bounds that of the largest eigenvalue, closely.
    square = torch.matmul(C, C)
    largest = torch.matmul(square, square).square().sum((-2, -1)) ** 0.125
    length = 1.8 / largest[:, None, None]
    gradient = torch.matmul(W, C) + Q
    direction = torch.where(W > 0, gradient, 0.0)
    for _ in range(_STEPS):
        W, gradient, direction = _step(C, Q, W, gradient, direction, length)
    return W


def _step(
    C: Tensor, Q: Tensor, W: Tensor, gradient: Tensor, conjugate: Tensor, length: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    free = W > 0
    inner = torch.where(free, torch.minimum(W / length, gradient), 0.0)
    outer = torch.where(free, 0.0, gradient.clamp_max(0.0))
    proportional = _dot(outer, outer) <= _dot(inner, inner)
    direction = torch.where(proportional, conjugate, outer)
    product = torch.matmul(direction, C)
    curvature = _dot(direction, product)
    inverse = torch.where(curvature > 0, 1.0 / curvature, 0.0)
    unbounded = _dot(gradient, direction) * inverse
    bound = torch.where(direction > 0, W / direction, torch.inf).amin(-1, keepdim=True)
    expands = unbounded > bound
    step = torch.minimum(unbounded, bound)
    W = (W - step * direction).clamp_min(0.0)
    reduced = torch.where(W > 0, gradient - step * product, 0.0)
    beta = _dot(reduced, product) * inverse
    W = torch.where(expands, (W - length * reduced).clamp_min(0.0), W)
    gradient = torch.matmul(W, C) + Q  # anew, for the recursion adds up rounding
    continues = proportional & ~expands
    direction = torch.where(continues, reduced - beta * conjugate, gradient)
    return W, gradient, torch.where(W > 0, direction, 0.0)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1, keepdim=True)
