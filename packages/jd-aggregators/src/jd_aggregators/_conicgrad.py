"""ConicGrad: the best worst-case improvement within an angle of the mean."""

from math import inf, isfinite, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._min_norm import MinNormSolver
from ._projection._base import ridge, rounding
from ._settings import Configured, Number, OfWeighting

_least_norm = MinNormSolver()

# As a rule there are less than ten; halving the interval this often is as fine as float64 is.
_ROUNDS = 60
# Up to how many units of rounding a condition of the optimum may be violated.
_ACCEPTED = 8.0
# Up to which error in one of its conditions the nearest point of an affine hull is taken.
_OFF = 1e-12
# From which size of their weights rows count as affinely dependent.
_LARGE = 1e8


class ConicGradWeighting(Configured, GramianWeighting):
    r"""Weights of the direction in a cone about the mean that helps the worst row most.

    .. math:: \alpha_i = \rho \|g_0\| \, \frac{w_i + \mu / (m \|g_0\|)}{\|J^\top w + \mu \hat g\|},
        \qquad w, \mu \in \arg\min_{w \ge 0, \; \sum_j w_j = 1, \; \mu \ge 0}
        \|J^\top w + \mu \hat g\| - \mu c,

    with :math:`g_0` the mean of the rows and :math:`\hat g = g_0 / \|g_0\|`; it takes no more than
    the Gramian :math:`G = J J^\top`. The factor :math:`\rho \le 1` is 1 unless the minimum is where
    the norm vanishes; there :math:`\alpha` is the limit for which :class:`ConicGrad`'s update is
    the shortest of the best. The problem is solved exactly: for a given :math:`\mu`, w is the point
    of least norm in a convex hull, and among the :math:`\mu` that share the rows of positive
    weight, the best has a closed form. Source: Hassanpour et al., "Fantastic Multi-Task Gradient
    Updates and How to Find Them In a Cone", 2025, arXiv:2502.00217.

    Gramians on other devices are copied to the host, where the weights are computed.

    :param c: The cosine of the cone's half angle; from 0 to 1. With 1 the weights are those of the
        mean.
    :raises TypeError: If ``c`` is not a number.
    :raises ValueError: If ``c`` is out of its bounds.

    >>> import torch
    >>> from torchjd.aggregation import ConicGradWeighting
    >>> J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    >>> ConicGradWeighting(c=0.5)(J @ J.T)
    tensor([0.7348, 0.4899])
    """

    degree = 0.0
    c = Number("The cosine of the largest angle to the mean.", low=0.0, high=1.0)

    def __init__(self, c: float = 0.5) -> None:
        super().__init__()
        self.c = c

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        G = gramian.detach().to("cpu").to(torch.float64)
        weights = _weights(G, self.c, gramian.dtype)
        return weights.to(gramian.device, torch.promote_types(gramian.dtype, torch.float32))


class ConicGrad(GramianWeightedAggregator):
    r"""The update in a cone about the mean of the rows of :math:`J` that helps the worst row most.

    .. math:: \mathcal{A}(J) = \|g_0\| \, u, \qquad
        u = \arg\max_{\|u\| \le 1, \; \hat g \cdot u \ge c} \; \min_i \; g_i \cdot u, \qquad
        g_0 = \frac1m \sum_i g_i, \quad \hat g = \frac{g_0}{\|g_0\|}

    Where some direction in the cone improves all objectives, the update is as long as the mean, and
    at an angle of cosine at least :math:`c` to it. Elsewhere the best u may be shorter, and of
    several that are best it is the shortest. Always
    :math:`g_0 \cdot \mathcal{A}(J) \ge c \|g_0\|^2`, so that for :math:`c > 0` descent only stops
    where the mean is 0; but rows may conflict with the result. With :math:`c = 1` it is the mean;
    with :math:`c = 0`, the direction of :class:`MGDA`, and 0 where there is none. A mean that is no
    more than the rounding of the rows counts as 0, and then so does the update. Source: Hassanpour
    et al., "Fantastic Multi-Task Gradient Updates and How to Find Them In a Cone", 2025,
    arXiv:2502.00217.

    .. note::
        The paper's problem, the best worst case under the constraint on the angle, is solved
        here as it is stated. The paper's own closed form takes the constraint squared into its
        Lagrangian; that is a quadratic form that is not definite, and its stationary point need not
        be the maximum. The length, which the paper ties to that of :math:`g_0`, is bounded by it,
        which comes to the same wherever all objectives can be improved.

    :param c: The cosine of the cone's half angle; from 0 to 1.
    :raises TypeError: If ``c`` is not a number.
    :raises ValueError: If ``c`` is out of its bounds.

    >>> import torch
    >>> from torchjd.aggregation import ConicGrad
    >>> ConicGrad(c=0.9)(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    tensor([1.5821, 1.3218])
    """

    weighting: ConicGradWeighting
    traits = Traits(permutation=True, cost="m^2 n + m^3")
    c = OfWeighting(ConicGradWeighting.c)

    def __init__(self, c: float = 0.5) -> None:
        super().__init__(ConicGradWeighting(c))


def _weights(G: Tensor, c: float, dtype: torch.dtype) -> Tensor:
    """Return the weights, of shape ``[m]``.

    :param G: The Gramian, in float64 on the CPU.
    :param c: The cosine of the largest angle to the mean.
    :param dtype: The dtype that the Gramian was computed in, whose rounding it carries.
    """
    m = len(G)
    mean = torch.full_like(G[0], 1.0 / m)
    longest = float(G.diagonal().max())
    if not isfinite(float(G.sum()) + longest):
        return torch.full_like(mean, torch.nan)
    if c == 1.0:
        return mean
    if not longest > 0.0:
        return torch.zeros_like(mean)
    G = G / longest
    G.diagonal().mul_(1.0 + ridge(m, dtype))
    lengths = G.diagonal().clamp_min(0.0).sqrt()
    b = G @ mean
    square = float(b @ mean)
    # A mean that is rounding of the rows is 0.
    if square <= rounding(m, dtype) * float(lengths @ mean) ** 2:
        return torch.zeros_like(mean)
    length = sqrt(square)
    cone = _Cone(G, b / length, lengths, mean / length, length, c, rounding(m, dtype))
    return length * cone.solve()


class _Cone(NamedTuple):
    """A problem, and directions u in it as combinations of the rows; float64 on the CPU.

    :ivar G: The Gramian, of shape ``[m, m]``, with 1 as its largest diagonal entry.
    :ivar b: The rows' products with the axis, the unit vector along the mean; of shape ``[m]``.
    :ivar lengths: The rows' lengths, of shape ``[m]``.
    :ivar axis: The weights of the axis, of shape ``[m]``.
    :ivar length: The length of the mean.
    :ivar c: The least product of u and the axis, at least 0 and less than 1.
    :ivar noise: What part of a squared length is rounding.
    """

    G: Tensor
    b: Tensor
    lengths: Tensor
    axis: Tensor
    length: float
    c: float
    noise: float

    def solve(self) -> Tensor:
        r"""Return the weights of the best u.

        The slope of the dual objective in :math:`\mu` is that of the distance of the rows, shifted
        by :math:`\mu` times the axis, from 0, less c. It grows with :math:`\mu`; its root is
        bracketed, and within the bracket the next :math:`\mu` is the root for the rows that had
        positive weights at the last one.
        """
        w, lengths, distance = self._shifted(0.0)
        if self.c == 0.0 or float(self.b @ w) >= self.c * distance > 0.0:
            return w / distance if distance > 0.0 else torch.zeros_like(w)
        below = max(-float(self.b.min()), 0.0)
        mu, low, high = 0.0, 0.0, (below + self.c * self.length) / (1.0 - self.c)
        if distance == 0.0:  # so it stays for a while, but not beyond `below`
            mu = min(below + self.c * self.length, high)
            w, lengths, distance = self._shifted(mu)
        best, most = self.axis, float((self.G @ self.axis).min())
        for _ in range(_ROUNDS):
            target = inf
            if distance > 0.0:
                share = w * lengths
                rows = (share > self.noise * share.max()).nonzero().flatten()
                u, target, is_best = self._best_of(rows)
                # That the rows are those of their own root says as much, up to rounding.
                if is_best or abs(target - mu) <= _OFF * mu:
                    return u
                worst = float((self.G @ u).min())
                if worst > most:
                    best, most = u, worst
            if distance == 0.0 or float(self.b @ w) + mu < self.c * distance:
                low = mu
            else:
                high = mu
            if not low < target < high:
                target = sqrt((low + self.length) * (high + self.length)) - self.length
            if not low < target < high:
                break
            mu = target
            w, lengths, distance = self._shifted(mu)
        return best

    def _shifted(self, mu: float) -> tuple[Tensor, Tensor, float]:
        """Return the hull's point of least norm after a shift of the rows along the axis.

        :param mu: How far they are shifted, at least 0.
        :returns: Its weights; the lengths of the shifted rows; its norm, 0 if that is rounding.
        """
        shifted = self.G + mu * (self.b[:, None] + self.b) + mu * mu if mu > 0.0 else self.G
        lengths = shifted.diagonal().clamp_min(0.0).sqrt()
        w = _least_norm(shifted)
        square = float(w @ shifted @ w)
        vanishes = square <= self.noise * float(w @ lengths) ** 2
        return w, lengths, 0.0 if vanishes else sqrt(square)

    def _best_of(self, rows: Tensor) -> tuple[Tensor, float, bool]:
        r"""Return the best u if those rows are the ones of positive weight, and whether they are.

        For these rows the nearest point of the shifted hull is :math:`h + \mu q`, with h the
        nearest point of the rows' affine hull and q the axis less its part along that hull. So u
        is a combination of q, which its product c with the axis determines, and of the part of h
        that is orthogonal to q, which its length determines. Where there is no such part, the
        norm vanishes at the minimum.

        :returns: The weights of u; :math:`\mu`, infinite if there is none; whether u is the best.
        """
        # A row of zeros has no length, but its weight brings rounding to those of the others.
        lengths = self.lengths[rows]
        shortest = float(torch.where(lengths > 0.0, lengths, inf).min())
        lengths = torch.where(lengths > 0.0, lengths, shortest if shortest < inf else 1.0)
        x, e = self._nearest(rows, lengths)
        h, q = torch.zeros_like(self.b), self.axis.clone()
        h[rows] = x
        q[rows] += e
        beta = float(q @ self.G @ q)
        if beta <= self.c**2:
            return self.axis, inf, False
        alpha = float(self.b @ h) / beta
        rest = h - alpha * q
        # The part of h is a difference: its rounding is that of what it is the difference of.
        size = float(x.abs() @ lengths) + abs(alpha) * float(q.abs() @ self.lengths)
        square = float(rest @ self.G @ rest)
        mu, u = -alpha, (self.c / beta) * q
        vanishes = square <= self.noise * size**2
        if not vanishes:
            part = sqrt((beta - self.c**2) / beta)
            mu += self.c / beta * sqrt(square) / part
            u += (part / sqrt(square)) * rest
        u = self._inside(u, is_long=not vanishes)
        return u, mu, self._is_best(u, rows, x + mu * e)

    def _nearest(self, rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of the rows in h, which sum to 1, and in q, which sum to 0.

        :param rows: Which rows.
        :param lengths: What the rows are divided by for the computation.
        """
        k, shortest = len(rows), float(lengths.min())
        system = self.G.new_zeros(k + 1, k + 1)
        system[:k, :k] = self.G[rows][:, rows] / (lengths[:, None] * lengths)
        system[k, :k] = system[:k, k] = shortest / lengths
        sides = self.G.new_zeros(k + 1, 2)
        sides[k, 0] = shortest
        sides[:k, 1] = -self.b[rows] / lengths
        solved = torch.linalg.solve_ex(system, sides)[0]
        errors = (system @ solved - sides).abs().amax(0)
        allowed = _OFF * (sides.abs().amax(0) + solved.abs().amax(0))
        sound = (errors <= allowed).all() & (solved[:k].abs().amax() < _LARGE)
        # Rows that are affinely dependent have many such weights, and all of them are as good.
        if not bool(sound):
            solved = torch.linalg.lstsq(system, sides, rcond=self.noise, driver="gelsd").solution
        x, e = (solved[:k] / lengths[:, None]).unbind(1)
        return x, e

    def _inside(self, u: Tensor, *, is_long: bool) -> Tensor:
        """Return u with what rounding took from its constraints; of length 1 if it is long."""
        across = u - float(self.b @ u) * self.axis
        length, radius = sqrt(max(float(across @ self.G @ across), 0.0)), sqrt(1.0 - self.c**2)
        if length > 0.0 and (is_long or length > radius):
            across *= radius / length
        return self.c * self.axis + across

    def _is_best(self, u: Tensor, rows: Tensor, w: Tensor) -> bool:
        """Return whether these rows are as badly off as it gets, and their weights at least 0."""
        allowed = _ACCEPTED * self.noise
        gains = self.G @ u
        errors = self.lengths * float(u.abs() @ self.lengths)
        slack = gains - gains[rows].mean() + allowed * (errors + errors[rows].max())
        return bool((slack >= 0.0).all() & (w >= -allowed * w.abs().sum()).all())
