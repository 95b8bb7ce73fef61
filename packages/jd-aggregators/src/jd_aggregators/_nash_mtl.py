"""NashMTL: the bargain that no objective would rather replace."""

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._alpha_fair import alpha_fair_weights
from ._on_host import on_host
from ._precision import widened
from ._remembering import Remembering, ResetsWeighting
from ._settings import Configured, Count, Number, OfWeighting


class NashMTLWeighting(Configured, Remembering, GramianWeighting):
    r"""Weights of the Nash bargaining solution between the objectives.

    .. math:: w = a \, \min \left( 1, \frac{\text{max\_norm}}{\sqrt{a^\top G a}} \right),
        \qquad (G a)_i = \frac{1}{a_i}, \quad a > 0, \qquad G = J J^\top

    of shape ``[m]``. Rows of zeros get the weight 0. Where the rows are Pareto stationary, some
    convex combination of them, each scaled to length 1, being zero, there is no solution: all
    weights are 0. Shorter than 1e-6 counts as zero. Source: Navon et al., "Multi-Task Learning as a
    Bargaining Game", ICML 2022, Claim 3.1 and Algorithm 1.

    .. note:: The authors approach :math:`a` by a sequence of convex problems, from the solution of
        the last call. It is also the minimum of the strictly convex
        :math:`\tfrac12 a^\top G a - \sum_i \log a_i`, so that it is found here by Newton's method,
        up to rounding and whatever came before.

    With ``update_weights_every`` above 1, :math:`a` and the number of calls are part of the
    ``state_dict``, and ``reset()`` forgets them.

    :param n_tasks: The number of objectives, m.
    :param max_norm: The largest length of the update :math:`J^\top w`, which otherwise is the root
        of the number of rows that are not zero. 0 for any.
    :param update_weights_every: In every which call :math:`a` is computed. The calls between use it
        again, with the length of their own update.
    :param optim_niter: Has no effect: steps are taken until the solution is found.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is out of range; when called, if the number of rows is not
        ``n_tasks``.

    >>> import torch
    >>> from torchjd.aggregation import NashMTLWeighting
    >>> NashMTLWeighting(n_tasks=2, max_norm=0.0)(torch.tensor([[4.0, 0.0], [0.0, 0.25]]))
    tensor([0.5000, 2.0000])
    """

    remembers = ("_bargain",)
    n_tasks = Count("The number of objectives.", low=1)
    max_norm = Number("The largest length of the update; 0 for any.", low=0.0)
    update_weights_every = Count("In every which call the weights are computed.", low=1)
    optim_niter = Count("Has no effect.", low=1)

    def __init__(
        self,
        n_tasks: int,
        max_norm: float = 1.0,
        update_weights_every: int = 1,
        optim_niter: int = 20,
    ) -> None:
        super().__init__()
        self.n_tasks = n_tasks
        self.max_norm = max_norm
        self.update_weights_every = update_weights_every
        self.optim_niter = optim_niter

    @property
    def degree(self) -> float | None:
        """-1, as the length of the update is given; None where weights are used again."""
        return -1.0 if self.update_weights_every == 1 else None

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        if len(gramian) != self.n_tasks:
            raise ValueError(
                f"`n_tasks` must be the number of rows, {len(gramian)}. Got {self.n_tasks}. Set "
                "`n_tasks`, or make an object for each set of objectives."
            )
        if self.update_weights_every == 1:
            return self._shortened(alpha_fair_weights(gramian, 1.0), gramian)
        sound = torch.isfinite(gramian).all()
        bargain = self._bargained(gramian)
        weights = torch.where(sound, self._shortened(bargain, gramian), torch.nan)
        self.remember(sound, _bargain=bargain)
        return weights

    def _bargained(self, gramian: PSDMatrix) -> Tensor:
        """Return a: a new one, if it is time for that."""
        like = gramian.new_empty((), dtype=torch.promote_types(gramian.dtype, torch.float32))
        kept = self.recall("_bargain", (self.n_tasks,), like)
        due = self.is_first(like)
        if self._calls is not None:
            due = due | (self._calls.to(like.device) % self.update_weights_every == 0)
        if on_host(gramian):
            return alpha_fair_weights(gramian, 1.0) if due else kept
        return torch.where(due, alpha_fair_weights(gramian, 1.0), kept)

    def _shortened(self, bargain: Tensor, gramian: PSDMatrix) -> Tensor:
        """Return the weights of an update that is not too long."""
        if self.max_norm == 0:
            return bargain
        G = widened(gramian)
        a = bargain.to(G.dtype)
        length = (a @ G @ a).sqrt()
        return (a * (self.max_norm / length.clamp(min=self.max_norm))).to(bargain.dtype)


class NashMTL(ResetsWeighting, GramianWeightedAggregator):
    r"""The Nash bargaining solution between the objectives, no longer than ``max_norm``.

    .. math:: \mathcal{A}(J) = d \, \min \left( 1, \frac{\text{max\_norm}}{\|d\|} \right),
        \qquad d = J^\top a, \qquad (J d)_i = \frac{1}{a_i}, \quad a > 0

    :math:`d` maximises :math:`\sum_i \log(g_i \cdot d)` among the vectors of its length, which is
    the root of the number of rows that are not zero. No row conflicts with it, and the lengths of
    the rows play no part. Where the rows are Pareto stationary, some convex combination of them,
    each scaled to length 1, being zero, there is no such direction: the result is 0. Shorter than
    1e-6 counts as zero. Source: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML
    2022, Claim 3.1 and Algorithm 1.

    .. note:: The authors approach :math:`a` by a sequence of convex problems, from the solution of
        the last call. It is also the minimum of the strictly convex
        :math:`\tfrac12 a^\top G a - \sum_i \log a_i`, with :math:`G = J J^\top`, so that it is
        found here by Newton's method, up to rounding and whatever came before.

    With ``update_weights_every`` above 1, :math:`a` and the number of calls are part of the
    ``state_dict``, and ``reset()`` forgets them; rows may then conflict with the result in the
    calls that use :math:`a` again.

    :param n_tasks: The number of objectives, m.
    :param max_norm: The largest length of the update. 0 for any.
    :param update_weights_every: In every which call :math:`a` is computed. The calls between use it
        again, with the length of their own update.
    :param optim_niter: Has no effect: steps are taken until the solution is found.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is out of range; when called, if the number of rows is not
        ``n_tasks``.

    >>> import torch
    >>> from torchjd.aggregation import NashMTL
    >>> NashMTL(n_tasks=2)(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([0.0542, 0.7061, 0.7061])
    """

    weighting: NashMTLWeighting
    traits = Traits(
        no_conflict=True,
        permutation=True,
        scaling="1",
        state="m",
        cost="m^2 n + m^3",
        on_device=True,
        compiles=True,
    )
    n_tasks = OfWeighting(NashMTLWeighting.n_tasks)
    max_norm = OfWeighting(NashMTLWeighting.max_norm)
    update_weights_every = OfWeighting(NashMTLWeighting.update_weights_every)
    optim_niter = OfWeighting(NashMTLWeighting.optim_niter)

    def __init__(
        self,
        n_tasks: int,
        max_norm: float = 1.0,
        update_weights_every: int = 1,
        optim_niter: int = 20,
    ) -> None:
        super().__init__(NashMTLWeighting(n_tasks, max_norm, update_weights_every, optim_niter))
