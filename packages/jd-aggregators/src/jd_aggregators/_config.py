"""ConFIG: equal cosines with all gradients."""

from typing import Any

from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._arithmetic import weigh, weights_of
from ._few_rows import solve_few
from ._precision import widened
from ._preference import preference
from ._settings import Configured, OfWeighting, Preference
from ._spectrum import Array, noise_of, solve_regular, spectrum, unit_rows


class ConFIGWeighting(Configured, GramianWeighting):
    r"""Weights of the direction whose cosines with all rows are equal, or as the preference says.

    With :math:`C` the cosines between the rows, of shape ``[m, m]``, and :math:`C^+` its
    pseudoinverse,

    .. math:: w_i = \frac{y_i}{\|g_i\|} \cdot
        \frac{\sum_j \|g_j\| \, (C y)_j}{y^\top C y}, \qquad y = C^+ p, \qquad
        C_{ij} = \frac{G_{ij}}{\|g_i\| \|g_j\|}, \qquad G = J J^\top.

    As :math:`U^+ p = U^\top (U U^\top)^+ p` for the matrix :math:`U` of unit rows, these are the
    weights of the published update. Source: Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free
    Training of Physics Informed Neural Networks", ICLR 2025, equations 2 and 3.

    :param pref_vector: How the cosines are to each other, :math:`p`, of shape ``[m]``, at least 0.
        Default: equal.
    :raises TypeError: If ``pref_vector`` is no floating-point tensor.
    :raises ValueError: If ``pref_vector`` is negative, not finite or no vector; when called, if it
        does not have ``m`` entries.

    >>> import torch
    >>> from torchjd.aggregation import ConFIGWeighting
    >>> ConFIGWeighting()(torch.tensor([[1.0, 0.0], [0.0, 16.0]]))
    tensor([2.5000, 0.6250])
    """

    degree = 0.0
    pref_vector = Preference("How the cosines are to each other; None for equal ones.")

    def __init__(self, pref_vector: Tensor | None = None) -> None:
        super().__init__()
        self.pref_vector = pref_vector

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        given = self.pref_vector
        p = None if given is None else preference(given, widened(gramian))
        few = solve_few(gramian, p)
        if few is not None:
            return weights_of(_few_weights(*few, p), gramian)
        noise = noise_of(len(gramian), gramian.dtype)

        def compute(xp: Any, G: Array, p: Array) -> Array:
            C, lengths, inverse = unit_rows(xp, G)
            y = solve_regular(xp, C, p)
            if y is not None and y @ p > 0:
                return inverse * y * ((lengths @ p) / (y @ p))
            units = spectrum(xp, C, noise)
            along = units.coordinates(p, noise)
            solved = along * units.inverse
            square = along @ solved
            usable = square > 0
            size = (lengths @ units.vectors) @ along * usable / xp.where(usable, square, 1.0)
            return inverse * (units.vectors @ solved) * size

        return weigh(compute, gramian, self.pref_vector)


def _few_weights(y: list[float], lengths: list[float], p: Tensor | None) -> list[float]:
    shares = [1.0] * len(y) if p is None else p.tolist()
    square = sum(share * solved for share, solved in zip(shares, y, strict=True))
    total = sum(share * length for share, length in zip(shares, lengths, strict=True))
    size = total / square if square > 0.0 else 0.0
    return [size * solved / length for solved, length in zip(y, lengths, strict=True)]


class ConFIG(GramianWeightedAggregator):
    r"""The direction that has equal cosines with all rows, as long as their projections on it.

    .. math:: \mathcal{A}(J) = \Big( \sum_i g_i \cdot u \Big) u, \qquad
        u = \frac{U^+ p}{\|U^+ p\|}, \qquad U_i = \frac{g_i}{\|g_i\|},

    with :math:`U` of the shape ``[m, n]`` of :math:`J`, and :math:`p` the preference, by default 1
    each. No row conflicts with the result if the rows are independent: the cosines are then
    positive, and to each other as :math:`p`. Rows of zeros are left out. Where rows are dependent,
    the cosines are the nearest there are, in least squares, and some may be negative; 0 where all
    would be. Source: Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free Training of Physics
    Informed Neural Networks", ICLR 2025, equations 2 and 3.

    :param pref_vector: How the cosines are to each other, :math:`p`, of shape ``[m]``, at least 0.
        Default: equal.
    :raises TypeError: If ``pref_vector`` is no floating-point tensor.
    :raises ValueError: If ``pref_vector`` is negative, not finite or no vector; when called, if it
        does not have ``m`` entries.

    .. note::
        It is computed from the Gramian, which cannot tell apart what a singular value decomposition
        of the rows could: directions that differ by less than some :math:`10^{-7}`, the rounding of
        float32, count as dependent.

    >>> import torch
    >>> from torchjd.aggregation import ConFIG
    >>> ConFIG()(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([2.5000, 2.5000])
    """

    weighting: ConFIGWeighting
    traits = Traits(permutation=True, cost="m^2 n + m^3", compiles=True)
    pref_vector = OfWeighting(ConFIGWeighting.pref_vector)

    def __init__(self, pref_vector: Tensor | None = None) -> None:
        super().__init__(ConFIGWeighting(pref_vector))
