"""Products of a matrix with its own transpose."""

import torch
from torch import Tensor

# Below this size, one product of all is as fast as those of the blocks of one half.
_MIN_ROWS = 192
_MIN_COLUMNS = 64
_BLOCK_ROWS = 64


def square(matrix: Tensor) -> Tensor:
    r"""Return :math:`X X^\top`, of which one half is computed and the other one copied.

    :param matrix: :math:`X`, Of shape ``[m, n]``.
    """
    m, n = matrix.shape
    if m < _MIN_ROWS or n < _MIN_COLUMNS or matrix.device.type != "cpu":
        return matrix @ matrix.T
    result = matrix.new_empty(m, m)
    for start in range(0, m, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, m)
        block = torch.mm(matrix[start:stop], matrix[:stop].T)
        result[start:stop, :stop] = block
        result[:start, start:stop] = block[:, :start].T
    return result


class SharedSquare:
    r""":math:`X X^\top`, needed by two uses of parameters, and computed once.

    :param matrix: :math:`X`, of shape ``[m, n]``.
    """

    def __init__(self, matrix: Tensor) -> None:
        self._matrix: Tensor | None = matrix
        self._result: Tensor | None = None

    def take(self) -> Tensor:
        """Return it: to the first, for reading only; the second has it for its own."""
        if self._result is None:
            if self._matrix is None:
                raise RuntimeError("A shared square is there for two. Got a third.")
            self._result, self._matrix = square(self._matrix), None
            return self._result
        result, self._result = self._result, None
        return result
