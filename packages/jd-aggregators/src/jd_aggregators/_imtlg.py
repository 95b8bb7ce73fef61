"""IMTLG: equal projections on all gradients."""

from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._arithmetic import weigh, weights_of
from ._few_rows import solve_few
from ._spectrum import Array, noise_of, solve_regular, spectrum, unit_rows


class IMTLGWeighting(GramianWeighting):
    r"""Weights of sum 1 whose combination has the same projection on every row.

    .. math:: w = \frac{v}{\sum_i v_i}, \qquad v = G^+ d, \qquad d_i = \|g_i\|, \qquad G = J J^\top,

    with :math:`G^+` the pseudoinverse, of shape ``[m, m]``; 0 where the sum of :math:`v` is 0.
    Sources: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, section 3.1, for
    independent rows; Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024,
    for dependent ones.

    >>> import torch
    >>> from torchjd.aggregation import IMTLGWeighting
    >>> IMTLGWeighting()(torch.tensor([[1.0, 0.0], [0.0, 16.0]]))
    tensor([0.8000, 0.2000])
    """

    degree = 0.0

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        noise = noise_of(len(gramian), gramian.dtype)
        few = solve_few(gramian)
        if few is not None:
            v = [y / length for y, length in zip(*few, strict=True)]
            total = sum(v)
            weights = [x / total if abs(total) > noise * sum(map(abs, v)) else 0.0 for x in v]
            return weights_of(weights, gramian)

        def compute(xp: Any, G: Array, _: Array) -> Array:
            v = _solve(xp, G, noise)
            total = v.sum()
            counts = abs(total) > noise * abs(v).sum()
            return v * (counts / xp.where(counts, total, 1.0))

        return weigh(compute, gramian)


def _solve(xp: Any, G: Array, noise: float) -> Array:
    """Return :math:`G^+ d`, of shape ``[m]``."""
    # Independent rows have one solution, and with their lengths scaled out it is found whatever
    # these are. Dependent ones have many: which is the shortest depends on the lengths.
    C, lengths, inverse = unit_rows(xp, G)
    live = (inverse > 0) * xp.ones_like(lengths)
    y = solve_regular(xp, C, live)
    if y is not None:
        return inverse * y
    units = spectrum(xp, C, noise)
    v = inverse * (units.vectors @ (units.inverse * (live @ units.vectors)))
    independent = units.kept.sum() == live.sum()
    if xp is not torch and independent:
        return v
    whole = spectrum(xp, G, noise)
    shortest = whole.vectors @ (whole.inverse * whole.coordinates(lengths, noise))
    return xp.where(independent, v, shortest)


class IMTLG(GramianWeightedAggregator):
    r"""The affine combination of the rows of :math:`J` with equal projections on all of them.

    .. math:: \mathcal{A}(J) = J^\top w, \qquad w = \frac{v}{\sum_i v_i}, \qquad
        v = (J J^\top)^+ d, \qquad d_i = \|g_i\|

    For independent rows, :math:`g_i \cdot \mathcal{A}(J) / \|g_i\| = 1 / \sum_j v_j` for every row
    :math:`g_i` of :math:`J`, of shape ``[m, n]``. Rows of zeros are left out. Where the sum is
    negative, that is a conflict with all of them; where rows are dependent, the projections are as
    equal as they can be, in the least squares of :math:`g_i \cdot J^\top v - \|g_i\|`, and some may
    be conflicts; where the sum is 0, so is the update. Sources: Liu et al., "Towards Impartial
    Multi-task Learning", ICLR 2021, section 3.1; Quinton and Rey, "Jacobian Descent for
    Multi-Objective Optimization", 2024, for dependent rows.

    .. note::
        Rows count as dependent where their cosines say so up to the rounding of float32; their
        lengths play no part in that. Of dependent rows, those that are millions of times shorter
        than the longest are left out.

    >>> import torch
    >>> from torchjd.aggregation import IMTLG
    >>> IMTLG()(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([0.8000, 0.8000])
    """

    weighting: IMTLGWeighting
    traits = Traits(permutation=True, cost="m^2 n + m^3", compiles=True)

    def __init__(self) -> None:
        super().__init__(IMTLGWeighting())
