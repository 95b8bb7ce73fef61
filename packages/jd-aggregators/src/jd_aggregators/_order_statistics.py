"""The middle order statistics of each column, by comparisons of whole rows."""

from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor

from ._spectrum import Array

# Up to how many columns torch sorts faster than rows are compared one pair at a time: its own sort
# takes up to 16 rows at once, and the comparisons of few rows are few.
_FEW_ROWS, _FEW_COLUMNS, _FEW_COLUMNS_OF_MANY_ROWS = 5, 2048, 512

# The same for numpy: how many columns it sorts in the time of one comparison of whole rows.
_COLUMNS_A_COMPARISON = 30


def is_sorted_faster(m: int, n: int) -> bool:
    """Return whether to sort a matrix of shape ``[m, n]`` by columns is faster than this."""
    return m > _FEW_ROWS and n < (_FEW_COLUMNS if m <= 16 else _FEW_COLUMNS_OF_MANY_ROWS)


def middle(rows: Tensor, trim: int) -> list[Tensor]:
    """Return the order statistics of each column, without the ``trim`` first and last ones.

    :param rows: A tensor of shape ``[m, n]``.
    :param trim: How many are left out at either end; fewer than half of them.
    :returns: In ascending order, ``m - 2 trim`` tensors of shape ``[n]``; NaN at a column with one.
    """
    ordered = list(rows.unbind())
    for low, high, least, greatest in comparisons(len(rows), trim):
        first, second = ordered[low], ordered[high]
        if least:
            ordered[low] = torch.minimum(first, second)
        if greatest:
            ordered[high] = torch.maximum(first, second)
    return ordered[trim : len(rows) - trim]


def mean_of_middle(numpy: ModuleType, rows: Array, trim: int) -> Array:
    """Return the mean of the middle order statistics of each column, by numpy, of shape ``[n]``.

    :param rows: An array of shape ``[m, n]``. It stays as it is.
    :param trim: As for :func:`middle`.
    """
    m, n = rows.shape
    # Each value is divided before they are added: a mean does not overflow.
    share = 1.0 / (m - 2 * trim)
    pairs = comparisons(m, trim)
    if n < _COLUMNS_A_COMPARISON * len(pairs):
        return (numpy.sort(rows, axis=0)[trim : m - trim] * share).sum(axis=0)
    ordered = list(rows.copy())
    spare = numpy.empty_like(ordered[0])
    for low, high, least, greatest in pairs:
        first, second = ordered[low], ordered[high]
        if least:
            numpy.minimum(first, second, out=spare)
            ordered[low], spare = spare, first
        if greatest:
            numpy.maximum(first, second, out=second)
    mean = ordered[trim] * share
    for values in ordered[trim + 1 : m - trim]:
        mean += values * share
    return mean


@lru_cache(64)
def comparisons(m: int, trim: int = 0) -> tuple[tuple[int, int, bool, bool], ...]:
    """Return the comparisons that sort m values, as far as the middle ones depend on them.

    That is Batcher's odd-even merge sort, in place, without what only serves the values trimmed.
    Source: Knuth, "The Art of Computer Programming", volume 3, 1998, section 5.2.2, algorithm M.

    :param m: The number of values.
    :param trim: How many are of no interest at either end.
    :returns: Pairs of places: the lesser value goes to the first, the greater one to the second;
        and whether each of the two is of use.
    """
    used = set(range(trim, m - trim))
    kept = []
    for low, high in reversed(_merge_sort(m)):
        if low in used or high in used:
            kept.append((low, high, low in used, high in used))
            used |= {low, high}
    return tuple(reversed(kept))


def _merge_sort(m: int) -> list[tuple[int, int]]:
    """Return all comparisons of Batcher's sort: sorted runs of p values, merged two by two."""
    pairs = []
    p = 1
    while p < m:
        step = p
        while step >= 1:
            for start in range(step % p, m - step, 2 * step):
                lows = range(start, min(start + step, m - step))
                pairs += [(i, i + step) for i in lows if i // (2 * p) == (i + step) // (2 * p)]
            step //= 2
        p *= 2
    return pairs
