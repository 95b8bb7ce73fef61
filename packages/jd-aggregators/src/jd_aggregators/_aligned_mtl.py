"""AlignedMTL: the gradients, with their principal components balanced."""

from typing import Any, Literal

from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._arithmetic import weigh
from ._settings import Choice, Configured, OfWeighting, Preference
from ._spectrum import Array, noise_of, spectrum

ScaleMode = Literal["min", "median", "rmse"]


class AlignedMTLWeighting(Configured, GramianWeighting):
    r"""Weights under which all principal components of the rows have the same length.

    .. math:: w = B p, \qquad B = \sqrt{s} \, V \Lambda^{-1/2} V^\top, \qquad
        G = J J^\top = V \Lambda V^\top,

    over the nonzero eigenvalues :math:`\Lambda` of the Gramian, of shape ``[m, m]``; :math:`p` is
    the preference, by default :math:`1/m` each. All nonzero singular values of the balanced
    gradients :math:`B J` are :math:`\sqrt{s}`. Source: Senushkin et al., "Independent Component
    Alignment for Multi-Task Learning", CVPR 2023, Algorithm 1.

    :param pref_vector: The preference :math:`p`, of shape ``[m]``, at least 0. Default: the mean.
    :param scale_mode: What :math:`s` is: ``"min"``, the least nonzero eigenvalue, as in the paper;
        ``"median"``, the lower median of them; ``"rmse"``, their mean, as in the authors' code.
    :raises TypeError: If ``pref_vector`` is no floating-point tensor.
    :raises ValueError: If a parameter has no such value; when called, if ``pref_vector`` does not
        have ``m`` entries.

    >>> import torch
    >>> from torchjd.aggregation import AlignedMTLWeighting
    >>> AlignedMTLWeighting()(torch.tensor([[1.0, 0.0], [0.0, 16.0]]))
    tensor([0.5000, 0.1250])
    """

    degree = 0.0
    pref_vector = Preference("How much each objective counts; None for the mean.")
    scale_mode = Choice[ScaleMode](
        "Which eigenvalue the others are scaled to.", ("min", "median", "rmse")
    )

    def __init__(self, pref_vector: Tensor | None = None, scale_mode: ScaleMode = "min") -> None:
        super().__init__()
        self.pref_vector = pref_vector
        self.scale_mode = scale_mode

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        noise = noise_of(len(gramian), gramian.dtype)

        def compute(xp: Any, G: Array, p: Array) -> Array:
            values, vectors, kept, inverse = spectrum(xp, G, noise)
            balance = xp.sqrt(self._scale(xp, values, kept) * inverse)
            return vectors @ (balance * (p @ vectors))

        return weigh(compute, gramian, self.pref_vector)

    def _scale(self, xp: Any, values: Array, kept: Array) -> Array:
        """Return what the kept eigenvalues are scaled to."""
        m, rank = len(values), kept.sum()
        if self.scale_mode == "rmse":
            return (values * kept).sum() / (rank + (rank == 0))
        # The kept ones are the last: eigenvalues are in ascending order.
        offset = 0 if self.scale_mode == "min" else (rank - 1) // 2
        return xp.take(values, (m - rank + offset) % m)


class AlignedMTL(GramianWeightedAggregator):
    r"""The weighted sum of the rows of :math:`J`, with their principal components balanced.

    .. math:: \mathcal{A}(J) = J^\top B p, \qquad B = \sqrt{s} \, V \Lambda^{-1/2} V^\top, \qquad
        J J^\top = V \Lambda V^\top,

    over the nonzero eigenvalues :math:`\Lambda`. The balanced gradients :math:`B J`, of shape
    ``[m, n]``, are orthogonal and of the same length, :math:`\sqrt{s}`, where the rows are
    independent; they are the ones closest to the rows, for that length. The update may conflict
    with a row. Source: Senushkin et al., "Independent Component Alignment for Multi-Task
    Learning", CVPR 2023, Algorithm 1.

    :param pref_vector: The preference :math:`p`, of shape ``[m]``, at least 0. Default: the mean.
    :param scale_mode: What :math:`s` is: ``"min"``, the least nonzero eigenvalue, as in the paper;
        ``"median"``, the lower median of them; ``"rmse"``, their mean, as in the authors' code.
    :raises TypeError: If ``pref_vector`` is no floating-point tensor.
    :raises ValueError: If a parameter has no such value; when called, if ``pref_vector`` does not
        have ``m`` entries.

    .. note::
        An eigenvalue is taken for zero when it is below :math:`\max(8, m) \cdot 1.4 \cdot 10^{-14}`
        times the largest: when rows depend on one another up to the rounding of float32, or are a
        few million times shorter than the others. There the method is discontinuous: just above,
        ``"min"`` shortens all components to what is left between those rows. ``"median"`` and
        ``"rmse"`` lengthen weak components, and their rounding with them: few digits are left where
        the eigenvalues span more than ten powers of ten.

    >>> import torch
    >>> from torchjd.aggregation import AlignedMTL
    >>> AlignedMTL()(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([0.5000, 0.5000])
    """

    weighting: AlignedMTLWeighting
    traits = Traits(permutation=True, cost="m^2 n + m^3", compiles=True)
    pref_vector = OfWeighting(AlignedMTLWeighting.pref_vector)
    scale_mode = OfWeighting(AlignedMTLWeighting.scale_mode)

    def __init__(self, pref_vector: Tensor | None = None, scale_mode: ScaleMode = "min") -> None:
        super().__init__(AlignedMTLWeighting(pref_vector, scale_mode))
