"""The problem behind the projections, solved by operations that do not depend on its values."""

import torch
from torch import Tensor

from ._chunks import in_chunks
from ._enumeration import solve_by_enumeration
from ._interior_point import solve_by_interior_point
from ._matrix_products import solve_by_matrix_products

# The largest numbers of rows for the methods of small and of medium problems.
_SMALL = 8
_MEDIUM = 512


def solve_on_device(C: Tensor, Q: Tensor, noise: float, start: Tensor | None = None) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    :param C: Matrices of shape ``[..., m, m]`` with a diagonal of about 1, positive semi-definite
        up to their rounding.
    :param Q: One problem a row, of shape ``[..., k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :param start: Which weights are likely positive, of the shape of ``Q``, dtype bool.
    :returns: The weights, of the shape of ``Q``, at least 0; anything where ``Q`` is not finite.
    """
    k, m = Q.shape[-2:]
    if Q.numel() == 0:
        return torch.zeros_like(Q)
    matrices, problems = C.reshape(-1, m, m), Q.reshape(-1, k, m)
    if m <= _SMALL:

        def enumerated(c: Tensor, q: Tensor) -> Tensor:
            return solve_by_enumeration(c, q, noise)

        W = in_chunks(enumerated, 2**m * m, matrices, problems)
    elif m <= _MEDIUM:

        def interior(c: Tensor, q: Tensor) -> Tensor:
            return solve_by_interior_point(c, q, noise)

        W = in_chunks(interior, 4 * m * m, matrices, problems)
    else:
        guess = None if start is None else start.reshape(-1, k, m)
        W = solve_by_matrix_products(matrices, problems, noise, guess)
    return W.reshape(Q.shape)
