"""EPO: towards the Pareto-optimal point at which the weighted losses are equal."""

from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._linear_program import maximize
from ._min_norm import MinNormSolver
from ._preference import preference
from ._projection._base import rounding
from ._settings import Configured, Number, OfWeighting, Preference


class PositivePreference(Preference):
    """A preference of which each entry is above 0."""

    def checked(self, value: Any) -> Tensor | None:
        """Return a copy of ``value``."""
        vector = super().checked(value)
        if vector is not None and not bool((vector > 0).all()):
            raise ValueError(f"`{self.name}` must be greater than 0. Got {vector.tolist()}.")
        return vector


class EPOWeighting(Configured, GramianWeighting):
    r"""Weights that make weighted losses equal, and where they are, lower all of them.

    .. math:: w = \arg\max_{\beta \ge 0, \; \sum_i \beta_i = 1} \beta^\top G a \quad
        \text{such that} \quad (G \beta)_j \ge b_j, \qquad
        a_j = r_j \left( \log(m \hat l_j) - \mu \right),

    with :math:`G = J J^\top`, of shape ``[m, m]``, :math:`\hat l = r l / \sum_j r_j l_j` for the
    losses :math:`l` and the preference :math:`r`, scaled to a mean of 1, and the non-uniformity
    :math:`\mu = \sum_j \hat l_j \log(m \hat l_j)`. The bound is 0 for the rows of the largest
    :math:`r_j l_j`; for others, none where :math:`(G a)_j > 0`, else :math:`(G a)_j`, or 0 if no
    row has :math:`(G a)_j > 0`. Where :math:`\mu \le \epsilon`, a is 1 for each row, and each
    bound 0. Source: Mahapatra and Rajan, "Multi-Task Learning with User Preferences: Gradient
    Descent with Controlled Ascent in Pareto Optimization", ICML 2020, section 4.

    :param pref_vector: The preference :math:`r`, of shape ``[m]``, above 0: what the losses are
        multiplied by before they are compared. Default: the same for all.
    :param eps: The non-uniformity :math:`\epsilon` up to which the losses count as balanced.
    :raises TypeError: If a parameter is of a wrong type; when called, if there are no losses.
    :raises ValueError: If ``pref_vector`` is not above 0, not finite or no vector, or ``eps``
        negative; when called, if ``pref_vector`` does not have ``m`` entries, or a loss is not
        above 0.

    >>> import torch
    >>> from torchjd.aggregation import EPOWeighting
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> EPOWeighting()(J @ J.T, losses=torch.tensor([1.0, 3.0]))
    tensor([0., 1.])
    """

    needs_losses = True
    degree = 0.0
    pref_vector = PositivePreference(
        "What the losses are multiplied by; None for the same for all."
    )
    eps = Number("The non-uniformity up to which the losses count as balanced.", low=0.0)

    def __init__(self, pref_vector: Tensor | None = None, *, eps: float = 1e-4) -> None:
        super().__init__()
        self.pref_vector = pref_vector
        self.eps = eps

    def forward(self, gramian: PSDMatrix, /, *, losses: Tensor) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        G = gramian.detach().to("cpu", torch.float64)
        values = losses.to("cpu", torch.float64)
        r = preference(self.pref_vector, G)
        weights = torch.full_like(r, torch.nan)
        if bool(torch.isfinite(G).all() & torch.isfinite(values).all()):
            if not bool((values > 0).all()):
                raise ValueError(
                    f"`losses` must be greater than 0: they are compared by their ratios. "
                    f"Got {losses.tolist()}. Add a constant to a loss that can be 0 or less."
                )
            weights = self._weigh(G, r * len(r) / r.sum(), values)
        dtype = torch.promote_types(gramian.dtype, torch.float32)
        return weights.to(gramian.device, dtype)

    def _weigh(self, G: Tensor, r: Tensor, losses: Tensor) -> Tensor:
        m, weighted = len(r), r * losses
        shares = weighted / weighted.sum()
        logs = (m * shares).log()
        non_uniformity = shares @ logs
        lengths = G.diagonal().sqrt()
        longest = lengths.amax()
        if m == 1 or not bool(longest > 0):
            return torch.full_like(r, 1.0 / m)
        # For each row, in units of its length times the longest: numbers of up to 1.
        A = G / torch.where(lengths > 0, lengths, 1.0)[:, None] / longest
        # What rounding leaves of equal losses is no imbalance.
        is_balanced = bool(non_uniformity <= max(self.eps, rounding(m, G.dtype)))
        a = torch.ones_like(r) if is_balanced else r * (logs - non_uniformity)
        gains = A @ (a / a.abs().amax())
        bounds = torch.zeros_like(r)
        rising = gains > m * rounding(m, G.dtype)
        if not is_balanced and bool(rising.any()):
            bounds = torch.where(rising, -torch.inf, gains.clamp_max(0.0) * a.abs().amax())
            bounds = torch.where(weighted >= weighted.amax(), 0.0, bounds)
        bound = bounds > -torch.inf
        objective = gains * lengths / longest
        best = maximize(objective, A[bound], bounds[bound], torch.ones_like(r))
        # Rounding may leave nothing that is allowed, where that is a single point: this one.
        best = MinNormSolver()(G) if best is None else best
        return best / best.sum()


class EPO(GramianWeightedAggregator):
    r"""A combination that leads to where the losses, times a preference, are equal.

    .. math:: \mathcal{A}(J) = \sum_i \beta_i g_i, \qquad \beta \ge 0, \; \sum_i \beta_i = 1

    While the weighted losses :math:`r_j l_j` differ, the weights are those for which the update
    evens them out the fastest: losses may rise then, but the one with the largest
    :math:`r_j l_j` does not. Once they are equal up to ``eps``, all are lowered together:
    :math:`g_j \cdot \mathcal{A}(J) \ge 0`. So training ends at the Pareto-optimal point on the ray
    on which they are equal, if there is one. The weights solve a linear program, on the CPU, which
    :class:`EPOWeighting` has. Source: Mahapatra and Rajan, "Multi-Task Learning with User
    Preferences: Gradient Descent with Controlled Ascent in Pareto Optimization", ICML 2020,
    section 4.

    The call needs the losses: ``EPO()(matrix, losses=losses)``.

    .. note:: The authors' code can restrict the update further where the losses are balanced; here,
        as with its option ``relax``, none may rise, and that is all.

    :param pref_vector: The preference :math:`r`, of shape ``[m]``, above 0: what the losses are
        multiplied by before they are compared. Default: the same for all.
    :param eps: The non-uniformity up to which the losses count as balanced.
    :raises TypeError: If a parameter is of a wrong type; when called, if there are no losses.
    :raises ValueError: If ``pref_vector`` is not above 0, not finite or no vector, or ``eps``
        negative; when called, if ``pref_vector`` does not have ``m`` entries, or a loss is not
        above 0.

    >>> import torch
    >>> from torchjd.aggregation import EPO
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> EPO()(J, losses=torch.tensor([1.0, 3.0]))
    tensor([0., 1.])
    """

    weighting: EPOWeighting
    traits = Traits(cost="m^2 n + m^3")
    pref_vector = OfWeighting(EPOWeighting.pref_vector)
    eps = OfWeighting(EPOWeighting.eps)

    def __init__(self, pref_vector: Tensor | None = None, *, eps: float = 1e-4) -> None:
        super().__init__(EPOWeighting(pref_vector, eps=eps))
