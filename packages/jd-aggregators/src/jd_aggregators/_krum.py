"""Krum: the rows that have the closest company, whatever a few adversaries send."""

from itertools import chain
from math import isfinite, nan
from types import ModuleType

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._arithmetic import weights_of
from ._on_host import numpy_module, on_host
from ._precision import finished, widened
from ._settings import Configured, Count, OfWeighting
from ._spectrum import Array

# Up to how many rows plain arithmetic is the fastest, as each call on an array has its cost.
_FEW = 10


class KrumWeighting(Configured, GramianWeighting):
    r"""Give the same weight to the rows that are closest to others, and 0 to the rest.

    .. math:: s_i = \sum_{j \in N_i} \|g_i - g_j\|^2, \qquad
        \|g_i - g_j\|^2 = G_{ii} + G_{jj} - 2 G_{ij}, \qquad G = J J^\top,

    with :math:`N_i` the :math:`m - f - 2` rows other than :math:`i` that are closest to
    :math:`g_i`, and :math:`f` the number of adversaries. The :math:`q` rows of the least score
    :math:`s_i` get the weight :math:`1/q`; of equal scores, the first row's is taken for the least.
    Source: Blanchard, El Mhamdi, Guerraoui and Stainer, "Machine Learning with Adversaries:
    Byzantine Tolerant Gradient Descent", NeurIPS 2017, section 4, and section 6 for several rows.

    .. note::
        Other implementations sum the distances instead of their squares, which may select other
        rows. This one follows the paper.

    .. note::
        Distances come from the Gramian, in float64: those of less than some 1e-7 of the lengths of
        the rows are lost in its rounding. Subtract what rows have in common first, if they are
        that close.

    :param n_byzantine: The number of adversaries :math:`f`. The paper's guarantee requires
        :math:`m > 2 f + 2`; to be defined, the scores require :math:`m \ge f + 3`.
    :param n_selected: The number of selected rows :math:`q`, at least 1.
    :raises TypeError: If a parameter is no int.
    :raises ValueError: If a parameter is too small; when called, if there are fewer than
        ``n_byzantine + 3`` or ``n_selected`` rows.

    >>> import torch
    >>> from torchjd.aggregation import KrumWeighting
    >>> J = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.5], [-90.0, 70.0]])
    >>> KrumWeighting(n_byzantine=1)(J @ J.T), KrumWeighting(1, n_selected=2)(J @ J.T)
    (tensor([1., 0., 0., 0.]), tensor([0.5000, 0.5000, 0.0000, 0.0000]))
    """

    degree = 0.0
    n_byzantine = Count("The number of adversaries.")
    n_selected = Count("The number of selected rows.", low=1)

    def __init__(self, n_byzantine: int, n_selected: int = 1) -> None:
        super().__init__()
        self.n_byzantine = n_byzantine
        self.n_selected = n_selected

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``."""
        m = gramian.shape[0]
        self._check_rows(m)
        n_closest, n_selected = m - self.n_byzantine - 2, self.n_selected
        G = widened(gramian)
        if on_host(G):
            if m <= _FEW:
                return weights_of(_weigh_few(G.tolist(), n_closest, n_selected), gramian)
            numpy = numpy_module()
            if numpy is not None:
                return weights_of(_weigh_by_numpy(numpy, G.numpy(), n_closest, n_selected), gramian)
        return finished(_weigh(G, n_closest, n_selected), gramian)

    def _check_rows(self, m: int) -> None:
        if m < self.n_byzantine + 3:
            remedy = f"Allow for at most {m - 3}." if m > 3 else "Use another method for so few."
            raise ValueError(
                f"`n_byzantine` must be at most the number of rows minus 3. "
                f"Got {self.n_byzantine}, and {m} rows. {remedy}"
            )
        if m < self.n_selected:
            raise ValueError(
                f"`n_selected` must be at most the number of rows, {m}. Got {self.n_selected}."
            )


def _weigh(G: Tensor, n_closest: int, n_selected: int) -> Tensor:
    squares = G.diagonal()
    # Both triangles are read, so that the two rows of a pair are equally far to the last bit.
    distances = (squares + squares[:, None]).sub_(G + G.T).clamp_(min=0.0)
    # The closest to each row is the row itself, which adds nothing.
    closest = distances.topk(n_closest + 1, largest=False, sorted=False).values
    ranked = closest.sum(1).sort(stable=True).indices
    return torch.zeros_like(squares).index_fill_(0, ranked[:n_selected], 1.0 / n_selected)


def _weigh_by_numpy(numpy: ModuleType, G: Array, n_closest: int, n_selected: int) -> Array:
    """Do as :func:`_weigh`: on small arrays, calls of numpy cost a fifth."""
    if not numpy.isfinite(G).all():
        return numpy.full(len(G), numpy.nan)
    squares = G.diagonal()
    with numpy.errstate(over="ignore"):
        distances = numpy.maximum(squares + squares[:, None] - (G + G.T), 0.0)
        distances.sort(axis=1)
        scores = distances[:, : n_closest + 1].sum(axis=1)
    weights = numpy.zeros(len(G))
    weights[scores.argsort(kind="stable")[:n_selected]] = 1.0 / n_selected
    return weights


def _weigh_few(G: list[list[float]], n_closest: int, n_selected: int) -> list[float]:
    """Do as :func:`_weigh`: for a few rows, plain arithmetic costs less than any array."""
    if not all(map(isfinite, chain.from_iterable(G))):
        return [nan] * len(G)
    distances: list[list[float]] = [[] for _ in G]
    for i, own in enumerate(G):
        square, mine = own[i], distances[i]
        for j in range(i):
            other = G[j]
            distance = square + other[j] - (own[j] + other[i])
            mine.append(max(0.0, distance))
            distances[j].append(mine[j])
    scores = [sum(sorted(others)[:n_closest]) for others in distances]
    if n_selected == 1:
        selected = [scores.index(min(scores))]
    else:
        selected = sorted(range(len(G)), key=scores.__getitem__)[:n_selected]
    return [1.0 / n_selected if i in selected else 0.0 for i in range(len(G))]


class Krum(GramianWeightedAggregator):
    r"""The mean of the rows that are closest to others, whatever a few adversaries send.

    .. math:: \mathcal{A}(J) = \frac1q \sum_{i \in S} g_i,

    with :math:`S` the :math:`q` rows of the least score: the sum of the squared distances to the
    :math:`m - f - 2` closest other rows, where :math:`f` is the number of adversaries. Of equal
    scores, the first row's is taken for the least. If :math:`m > 2 f + 2`, the other rows are
    independent estimates of one gradient and :math:`q = 1`, the result stays close to that
    gradient whatever the adversaries send. Source: Blanchard, El Mhamdi, Guerraoui and Stainer,
    "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
    section 4, and section 6 for several rows.

    .. note::
        Other implementations sum the distances instead of their squares, which may select other
        rows. This one follows the paper. A row with an infinity or NaN is no adversary here: it
        makes the result NaN, as in all methods.

    :param n_byzantine: The number of adversaries :math:`f`. The paper's guarantee requires
        :math:`m > 2 f + 2`; to be defined, the scores require :math:`m \ge f + 3`.
    :param n_selected: The number of selected rows :math:`q`, at least 1.
    :raises TypeError: If a parameter is no int.
    :raises ValueError: If a parameter is too small; when called, if there are fewer than
        ``n_byzantine + 3`` or ``n_selected`` rows.

    >>> import torch
    >>> from torchjd.aggregation import Krum
    >>> Krum(n_byzantine=1)(torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.5], [-90.0, 70.0]]))
    tensor([1., 0.])
    """

    weighting: KrumWeighting
    traits = Traits(cost="m^2 n + m^2 log m", on_device=True, compiles=True)
    n_byzantine = OfWeighting(KrumWeighting.n_byzantine)
    n_selected = OfWeighting(KrumWeighting.n_selected)

    def __init__(self, n_byzantine: int, n_selected: int = 1) -> None:
        super().__init__(KrumWeighting(n_byzantine, n_selected))
