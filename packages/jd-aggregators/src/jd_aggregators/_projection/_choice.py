"""Which solver fits the device."""

import torch
from torch import Tensor

from jd_aggregators._on_host import on_host

from ._active_sets import numpy_solver
from ._nonnegative import solve_nonnegative
from ._on_device import solve_on_device


def solve_where_it_is(C: Tensor, Q: Tensor, noise: float) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    :param C: Matrices of shape ``[..., m, m]`` with a diagonal of about 1.
    :param Q: One problem a row, of shape ``[..., k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :returns: The weights, of the shape of ``Q``; NaN where an input is not finite.
    """
    if not on_host(C):
        return solve_on_device(C, Q, noise)
    if C.ndim == 2:
        return _solve(C, Q, noise)
    W = torch.empty_like(Q)
    for w, c, q in zip(*(tensor.flatten(0, -3) for tensor in (W, C, Q)), strict=True):
        w[:] = _solve(c, q, noise)
    return W


def _solve(C: Tensor, Q: Tensor, noise: float) -> Tensor:
    numpy = numpy_solver()
    if numpy is None or len(C) > numpy.MOST:
        return solve_nonnegative(C, Q, None, noise)
    found: Tensor = numpy.solve_by_numpy(C, Q, noise)
    return found
