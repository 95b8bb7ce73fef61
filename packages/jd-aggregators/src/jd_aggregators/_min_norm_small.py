"""The point of least norm of some tens of rows, by numpy: most of the time would go into calls."""

from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._projection import _numpy

_Floats = NDArray[np.float64]

MOST = _numpy.MOST
"""Up to how many rows this is the fastest way."""


def least_norm_by_numpy(G: Tensor, damping: float, noise: float) -> Tensor:
    """Return the weights of :class:`MinNormSolver`.

    :param G: A Gramian of shape ``[m, m]``, float64 on the CPU.
    :param damping: What is added to the diagonal of the correlation matrix.
    :param noise: The rounding that entries of the correlation matrix carry.
    """
    if len(G) == 2:
        return G.new_tensor(_of_two_rows(*G.flatten().tolist()))
    # What is not finite is no accident here: it is what a loss scaler looks for.
    with np.errstate(all="ignore"):
        return torch.from_numpy(_weights(G.numpy(), damping, noise))


def _of_two_rows(aa: float, ab: float, ba: float, bb: float) -> list[float]:
    """Return where the segment from a to b is nearest to the origin."""
    total = aa + bb - ab - ba
    if total - total != 0.0:
        return [total - total] * 2
    # Of two equal rows, and of those that rounding cannot tell apart, any combination is as good.
    first = min(max((bb - ab) / total, 0.0), 1.0) if total > 0.0 else 0.5
    return [first, 1.0 - first]


def _weights(G: _Floats, damping: float, noise: float) -> _Floats:
    squares = G.diagonal()
    first = int(squares.argmin())
    shortest = float(squares[first])
    poison = float((G - G).sum())  # 0, or NaN where an entry is not finite
    if not shortest > 0.0:
        zero = squares <= 0.0
        return zero / np.count_nonzero(zero) + poison
    if (G[first] >= shortest).all():  # no row is on the near side of the shortest one
        alone: _Floats = np.full(len(G), poison)
        alone[first] += 1.0
        return alone
    shifted: _Floats = G + shortest
    lengths: _Floats = np.sqrt(shifted.diagonal())
    C: _Floats = shifted / (lengths[:, None] * lengths)
    np.fill_diagonal(C, 1.0 + damping)
    q: _Floats = (poison - sqrt(shortest)) / lengths
    solved = _numpy.solve_by_numpy(torch.from_numpy(C), torch.from_numpy(q[None]), noise)
    weights: _Floats = solved.numpy()[0] / lengths
    weights /= weights.sum()
    return weights
