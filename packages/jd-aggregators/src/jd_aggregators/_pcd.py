"""PCD: the primary gradient, bent as little as the progress of the others asks for."""

from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._least_distance import least_distance
from ._on_host import numpy_module, on_host
from ._precision import widened
from ._projection._base import ridge, rounding
from ._remembering import Remembering, ResetsWeighting
from ._settings import Configured, Number, OfWeighting, Setting

# In units of rounding, the squared length of a sum of vectors that cancel.
_NONE = 64.0


class Fraction(Setting[float | Tensor]):
    """A number from 0 to 1, or a vector of such numbers."""

    def checked(self, value: Any) -> float | Tensor:
        """Return ``value`` as a float, or a copy of the vector."""
        if not isinstance(value, Tensor):
            number = Number("", low=0.0, high=1.0)
            number.name = self.name
            return number.checked(value)
        if not value.is_floating_point():
            raise TypeError(
                f"`{self.name}` must be a number or a floating-point tensor. Got {value.dtype}."
            )
        if value.ndim != 1 or not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError(
                f"`{self.name}` must be a vector of numbers from 0 to 1, one for each row but the "
                f"first. Got {value.tolist()}."
            )
        return value.detach().clone()


class PCDWeighting(Remembering, Configured, GramianWeighting):
    r"""Weights of the direction nearest to the first gradient along which all others progress.

    .. math:: w \propto S u, \qquad u = e_1 + \begin{pmatrix} 0 \\ v \end{pmatrix}, \quad v \in
        \arg\min_{v \ge 0} \tfrac12 u^\top \tilde G u - \tau \sum_{j \ge 2} \tilde G_{jj} v_j,
        \qquad \tilde G = S G S

    with :math:`G = J J^\top`, of shape ``[m, m]``, :math:`S` diagonal with
    :math:`s_i = 1 / \sqrt{\hat v_i + \epsilon}`, and :math:`\hat v_i` the average of :math:`G_{ii}`
    over the calls, exponential and with its bias corrected. The weights are scaled so that the
    update is as long as the first row. Source: Varam and AlHajri, "Not All Objectives Are Born
    Equal: Priority-Constrained Descent for Hierarchical Multi-Objective Optimization", TMLR 2026,
    arXiv 2606.29521.

    :param tau: The fraction :math:`\tau` of the progress along its own gradient that each other
        objective gets: a number, or a vector of shape ``[m - 1]``.
    :param beta: How much of the past the average keeps.
    :param eps: What is added to the average, :math:`\epsilon`.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``tau`` is not from 0 to 1, ``beta`` not from 0 to less than 1, or
        ``eps`` negative; when called, if ``tau`` is a vector that does not have ``m - 1`` entries.

    >>> import torch
    >>> from torchjd.aggregation import PCDWeighting
    >>> J = torch.tensor([[1.0, 0.0], [-3.0, 4.0]])
    >>> PCDWeighting(tau=0.0)(J @ J.T)
    tensor([1.2500, 0.1500])
    """

    remembers = ("_squares",)
    tau = Fraction("The fraction of its own progress that each objective but the first gets.")
    beta = Number("How much of the past the average keeps.", low=0.0, below=1.0)
    eps = Number("What is added to the average.", low=0.0)

    def __init__(self, tau: float | Tensor = 0.02, beta: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__()
        self.tau = tau
        self.beta = beta
        self.eps = eps

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        G = widened(gramian)
        m = G.shape[0]
        tau = self._fractions(m, G)
        is_other = self._squares is not None and self._squares.shape != (m,)
        average = self._average(G.diagonal(), is_other)
        damping = ridge(m, gramian.dtype)
        numpy = numpy_module() if on_host(G) else None
        weights = _weigh(numpy or torch, G, average + self.eps, tau, damping)
        sound = torch.isfinite(G).all()
        if is_other and not (on_host(sound) and not sound):
            self.reset()
        self.remember(sound, _squares=average)
        return weights.to(torch.promote_types(gramian.dtype, torch.float32))

    def _average(self, squares: Tensor, is_other: bool) -> Tensor:
        """Return the average of the squared lengths, the bias of its start corrected."""
        if is_other or self._calls is None:
            return squares.clone()
        share = (1.0 - self.beta) / (1.0 - self.beta ** (self._calls.to(squares) + 1))
        # What is kept is corrected already: that of one call is then what it was given, exactly.
        return torch.lerp(self.recall("_squares", tuple(squares.shape), squares), squares, share)

    def _fractions(self, m: int, like: Tensor) -> Tensor | float:
        tau = self.tau
        if not isinstance(tau, Tensor):
            return tau
        if len(tau) != m - 1:
            raise ValueError(
                f"`tau` must have one entry for each row but the first, {m - 1}. Got {len(tau)}."
            )
        return tau.to(like)


def _weigh(
    module: Any, gramian: Tensor, squares: Tensor, tau: Tensor | float, damping: float
) -> Tensor:
    """Return the weights.

    :param module: ``torch``, or ``numpy``, whose calls cost a fifth for small Gramians.
    :param gramian: Of shape ``[m, m]``.
    :param squares: What the squared length of each row is divided by.
    :param tau: The fraction of the progress, one for all or of shape ``[m - 1]``.
    :param damping: What is added to the diagonal of the correlation matrix.
    """
    noise = rounding(len(gramian), gramian.dtype) + damping
    if module is torch:
        weights: Tensor = _directed(torch, gramian, squares, tau, damping, noise)
        return weights
    fractions = tau.numpy() if isinstance(tau, Tensor) else tau
    with module.errstate(all="ignore"):
        found = _directed(module, gramian.numpy(), squares.numpy(), fractions, damping, noise)
        return torch.from_numpy(found)


def _directed(module: Any, G: Any, squares: Any, tau: Any, damping: float, noise: float) -> Any:
    sizes = module.sqrt(G.diagonal())
    zero = sizes == 0
    inverse = module.where(zero, 0.0, 1.0 / sizes)
    C = G * inverse[:, None] * inverse + module.diag(zero + damping)
    lengths = module.where(zero, 0.0, sizes / module.sqrt(squares))  # of the scaled rows
    longest = module.amax(lengths)
    lengths = lengths / module.where(longest > 0, longest, 1.0)
    shares = lengths
    if len(G) > 1:
        missing = tau * lengths[1:] - C[1:, 0] * lengths[0]
        added, feasible = least_distance(module, C[1:, 1:], missing, noise)
        added = module.where(feasible, added, 0.0 * missing)
        shares = module.concatenate((lengths[:1], added))
    square = shares @ C @ shares
    # The direction is 0 up to rounding, so that it is none.
    stays = zero[0] | (square <= _NONE * noise * module.abs(shares).sum() ** 2)
    return shares * inverse * module.where(stays, 0.0 * square, sizes[0] / module.sqrt(square))


class PCD(ResetsWeighting, GramianWeightedAggregator):
    r"""The first gradient, bent as little as it takes for every other objective to progress.

    .. math:: \mathcal{A}(J) = \|g_1\| \frac{d}{\|d\|}, \qquad d = \arg\min_d \|d - \tilde g_1\|
        \quad \text{such that} \quad \tilde g_j \cdot d \ge \tau \|\tilde g_j\|^2
        \text{ for } j \ge 2

    with :math:`\tilde g_i = g_i / \sqrt{\hat v_i + \epsilon}`, and :math:`\hat v_i` the average of
    :math:`\|g_i\|^2` over the calls, exponential and with its bias corrected. The first row is that
    of the primary objective. No other one conflicts with the result, where that is possible: if
    their gradients leave no direction in which all of them progress, the result is :math:`g_1`. It
    is 0 if :math:`g_1` is, or if :math:`d` is. Source: Varam and AlHajri, "Not All Objectives Are
    Born Equal: Priority-Constrained Descent for Hierarchical Multi-Objective Optimization", TMLR
    2026, arXiv 2606.29521.

    .. note:: The average is remembered, until ``reset()`` or a call with another number of rows.
        As in the paper, :math:`\epsilon` is a squared length: rows that are not much longer than
        its root count for less. With 0 the result scales with the Jacobian.

    :param tau: The fraction :math:`\tau` of the progress along its own gradient that each other
        objective gets: a number, or a vector of shape ``[m - 1]``.
    :param beta: How much of the past the average keeps.
    :param eps: What is added to the average, :math:`\epsilon`.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``tau`` is not from 0 to 1, ``beta`` not from 0 to less than 1, or
        ``eps`` negative; when called, if ``tau`` is a vector that does not have ``m - 1`` entries.

    >>> import torch
    >>> from torchjd.aggregation import PCD
    >>> PCD(tau=0.0)(torch.tensor([[1.0, 0.0], [-3.0, 4.0]]))
    tensor([0.8000, 0.6000])
    """

    weighting: PCDWeighting
    traits = Traits(state="m", cost="m^2 n + m^3", on_device=True)
    tau = OfWeighting(PCDWeighting.tau)
    beta = OfWeighting(PCDWeighting.beta)
    eps = OfWeighting(PCDWeighting.eps)

    def __init__(self, tau: float | Tensor = 0.02, beta: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(PCDWeighting(tau, beta, eps))
