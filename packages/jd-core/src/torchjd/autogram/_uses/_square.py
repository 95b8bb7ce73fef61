"""Products of a matrix with its own transpose."""

import torch
from torch import Tensor

# Below this many rows, one product of all is as fast as those of the blocks of one half.
_MIN_ROWS = 192
_BLOCK_ROWS = 64


def square(matrix: Tensor) -> Tensor:
    r"""Return :math:`X X^\top`, of which one half is computed and the other one copied.

    :param matrix: :math:`X`, Of shape ``[m, n]``.
    """
    m = matrix.shape[0]
    if m < _MIN_ROWS or matrix.device.type != "cpu":
        return matrix @ matrix.T
    result = matrix.new_empty(m, m)
    for start in range(0, m, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, m)
        block = torch.mm(matrix[start:stop], matrix[:stop].T)
        result[start:stop, :stop] = block
        result[:start, start:stop] = block[:, :start].T
    return result
