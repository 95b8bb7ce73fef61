"""Lexicographic: objectives in an order of priority, of which none harms a higher one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._on_host import on_host
from ._precision import widened
from ._projection._base import ridge, rounding
from ._projection._choice import solve_where_it_is
from ._projection._correlation import correlation
from ._projection._pivoting import SMALLEST_PIVOT
from ._settings import Configured, OfWeighting, Setting

Indices = tuple[tuple[int, ...], ...]


class Levels(Setting[Indices | None]):
    """Which rows are of which priority; None for each row above the next."""

    def checked(self, value: Any) -> Indices | None:
        """Return ``value`` as tuples."""
        if value is None:
            return None
        if not _is_sequence(value) or not all(_is_sequence(level) for level in value):
            raise TypeError(
                f"`{self.name}` must be a list of lists of indices of rows, such as [[0], [1, 2]], "
                f"or None. Got {value!r}."
            )
        levels = tuple(tuple(level) for level in value)
        indices = [index for level in levels for index in level]
        if any(isinstance(i, bool) or not isinstance(i, int) for i in indices):
            raise TypeError(f"`{self.name}` must hold ints. Got {value!r}.")
        if not indices or not all(levels) or sorted(indices) != list(range(len(indices))):
            raise ValueError(
                f"`{self.name}` must name each row once, from 0 on, with no level empty. "
                f"Got {value!r}."
            )
        return levels


class LexicographicWeighting(Configured, GramianWeighting):
    r"""Weights of the mean of the rows, each projected to harm none of a higher level.

    .. math:: w = \frac1m \sum_i v_i, \qquad v_i = e_i + \arg\min_{u \ge 0, \; u_j = 0
        \text{ unless } \ell(j) < \ell(i)} (e_i + u)^\top G (e_i + u), \qquad G = J J^\top,

    with :math:`G` of shape ``[m, m]``, :math:`e_i` a row of the identity, and :math:`\ell(i)` the
    level of row i, the highest being the first. Source: Qiu et al., "LPPG-RL: Lexicographically
    Projected Policy Gradient Reinforcement Learning with Subproblem Exploration", arXiv 2511.08339,
    2025, for the projection.

    :param levels: The indices of the rows of each level, from the highest to the lowest, such as
        ``[[0], [1, 2]]``. Default: each row is above the next.
    :raises TypeError: If ``levels`` is no list of lists of ints.
    :raises ValueError: If ``levels`` does not name each row once; when called, if the number of
        rows is another one.

    >>> import torch
    >>> from torchjd.aggregation import LexicographicWeighting
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> LexicographicWeighting()(J @ J.T)
    tensor([1.0000, 0.5000])
    """

    degree = 0.0
    levels = Levels("Which rows are of which priority; None for each row above the next.")

    def __init__(self, levels: Sequence[Sequence[int]] | None = None) -> None:
        super().__init__()
        self.levels = levels  # type: ignore[assignment]  # lists become tuples

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        m = gramian.shape[0]
        levels = self._levels_of(m)
        C, inverse = correlation(widened(gramian), ridge(m, gramian.dtype))
        # The cone does not depend on lengths: unit rows are projected, and given theirs back.
        lengths = gramian.detach().diagonal().to(C.dtype).sqrt()
        weights = (1.0 + (lengths @ _projections(C, levels)) * inverse) / m
        return weights.to(torch.promote_types(gramian.dtype, torch.float32))

    def _levels_of(self, m: int) -> Indices:
        levels = self.levels
        if levels is None:
            return tuple((i,) for i in range(m))
        count = sum(len(level) for level in levels)
        if count != m:
            raise ValueError(
                f"`levels` must name each row once, and there are {m}. Got {count} indices."
            )
        return levels


def _projections(C: Tensor, levels: Indices) -> Tensor:
    """Return what is added to each row, so that it harms none of a higher level.

    :param C: The inner products of the rows, which are of length 1, of shape ``[m, m]``.
    :param levels: The rows of each level.
    :returns: The weights of what is added, one row each, of shape ``[m, m]``.
    """
    noise = rounding(len(C), C.dtype)
    if on_host(C) and _well_conditioned(C):
        return _all_at_once(C, levels, noise)
    return _level_by_level(C, levels, noise)


def _all_at_once(C: Tensor, levels: Indices, noise: float) -> Tensor:
    """Return the projections, by solving one problem for all, of independent rows."""
    level = torch.empty(len(C), dtype=torch.int64, device=C.device)
    for k, rows in enumerate(levels):
        level[list(rows)] = k
    # What is added to a row is no longer than the row, 1. So a slope of 2 keeps the weights of rows
    # at 0 that are not above, which makes one matrix of what would be one for each level.
    return solve_where_it_is(C, torch.where(level < level[:, None], C, 2.0), noise)


def _well_conditioned(C: Tensor) -> bool:
    factor, info = torch.linalg.cholesky_ex(C)
    return not int(info) and float(factor.diagonal().min()) ** 2 > SMALLEST_PIVOT


def _level_by_level(C: Tensor, levels: Indices, noise: float) -> Tensor:
    """Return the projections, by solving the problems of each level."""
    W = torch.zeros_like(C)
    above = levels[0]
    for level in levels[1:]:
        rows, others = (torch.tensor(i, device=C.device) for i in (level, above))
        cone = C.index_select(0, others)
        Q = cone.index_select(1, rows).T.contiguous()
        added = solve_where_it_is(cone.index_select(1, others), Q, noise)
        wide_added = C.new_zeros(len(level), len(C)).index_copy(1, others, added)
        W = W.index_copy(0, rows, wide_added)
        above += level
    return W


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


class Lexicographic(GramianWeightedAggregator):
    r"""The mean of the rows, each projected so that it harms no objective of a higher priority.

    .. math:: \mathcal{A}(J) = \frac1m \sum_i \pi_i(g_i), \qquad
        \pi_i(x) = \arg\min_y \|y - x\| \quad \text{such that} \quad g_j \cdot y \ge 0
        \text{ where } \ell(j) < \ell(i)

    with :math:`\ell(i)` the level of row i, the highest being the first. So lower levels take
    nothing from a higher one: :math:`g_j \cdot \mathcal{A}(J)` is at least what it would be if they
    had gradients of zero. In particular the update never conflicts with the first level, where that
    is a single row. It may conflict with others, to which higher ones are preferred. Rows of one
    level are not projected for each other; with a single level, the result is the mean. Source: Qiu
    et al., "LPPG-RL: Lexicographically Projected Policy Gradient Reinforcement Learning with
    Subproblem Exploration", arXiv 2511.08339, 2025, for the projection.

    .. note:: The paper takes the projected gradient of a single subtask, the first that has not
        reached its threshold. Here all objectives count at once, and there are no thresholds: their
        projected gradients are averaged.

    :param levels: The indices of the rows of each level, from the highest to the lowest, such as
        ``[[0], [1, 2]]``. Default: each row is above the next.
    :raises TypeError: If ``levels`` is no list of lists of ints.
    :raises ValueError: If ``levels`` does not name each row once; when called, if the number of
        rows is another one.

    >>> import torch
    >>> from torchjd.aggregation import Lexicographic
    >>> Lexicographic()(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0.5000, 0.5000])
    """

    weighting: LexicographicWeighting
    traits = Traits(linear_under_scaling=True, cost="m^2 n + m^4", on_device=True)
    levels = OfWeighting(LexicographicWeighting.levels)

    def __init__(self, levels: Sequence[Sequence[int]] | None = None) -> None:
        super().__init__(LexicographicWeighting(levels))
