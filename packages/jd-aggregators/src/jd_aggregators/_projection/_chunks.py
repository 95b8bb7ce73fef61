"""Bounded memory: a batch of problems in parts."""

from collections.abc import Callable

import torch
from torch import Tensor

# Elements of the matrices of one part: what fits into the caches of a CPU, and what keeps other
# devices busy.
_ELEMENTS_ON_CPU = 1 << 20
_ELEMENTS = 1 << 27


def in_chunks(
    solve: Callable[..., Tensor], elements: int, C: Tensor, Q: Tensor, *others: Tensor
) -> Tensor:
    """Return ``solve(C, Q, *others)``, computed for some problems at a time.

    :param solve: A function of such tensors, that returns one of the shape of ``Q``.
    :param elements: The elements of the matrices that it makes for one problem.
    :param C: Of shape ``[b, m, m]``.
    :param Q: One problem a row, of shape ``[b, k, m]``.
    :param others: More tensors of that shape.
    """
    limit = _ELEMENTS_ON_CPU if C.device.type == "cpu" else _ELEMENTS
    rows = max(1, limit // elements)
    matrices = max(1, rows // Q.shape[1])
    groups = zip(*(torch.split(tensor, matrices) for tensor in (C, Q, *others)), strict=True)
    solved = []
    for c, *group in groups:
        parts = zip(*(torch.split(tensor, rows, dim=1) for tensor in group), strict=True)
        solved.append(torch.cat([solve(c, *part) for part in parts], dim=1))
    return torch.cat(solved)
