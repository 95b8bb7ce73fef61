"""Weights that are computed in some steps, and used again in the others."""

from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import Traits, Weighting

from ._settings import Count
from ._wrapping import ChangedWeighting


class PeriodicWeighting(ChangedWeighting):
    r"""Compute the weights in every k-th call, and use them again in the calls between.

    .. math:: w_t = \begin{cases} \hat w(J_t) & \text{if } t \bmod k = 0, \\
        w_{t-1} & \text{otherwise} \end{cases}

    with :math:`\hat w` the wrapped weighting, and t counted from 0. In the calls between, ``needs``
    is ``"row count"``: an aggregator computes no Gramian then, and a bare weighting takes any
    matrix of m rows. What the wrapped weighting guarantees of its own weights, such as that no
    objective is harmed, holds for those of the Jacobian that they were computed from. Source: Xu et
    al., "PSMGD: Periodic Stochastic Multi-Gradient Descent for Fast Multi-Objective Optimization",
    AAAI 2025, algorithm 1.

    .. note:: A call that computes weights reads on the host whether they are finite: weights that
        are not are returned, not kept, and the next call computes again. A call between does not
        look at the matrix, and counts whatever is in it.

    :param weighting: What computes the weights.
    :param every: The period, k: 1 for weights of every call.
    :raises TypeError: If ``weighting`` is no weighting, or ``every`` no int.
    :raises ValueError: If ``every`` is less than 1; when called, if the number of objectives has
        changed.

    >>> import torch
    >>> from torchjd.aggregation import PeriodicWeighting, UPGradWeighting
    >>> weighting = PeriodicWeighting(UPGradWeighting(), every=2)
    >>> weighting(torch.tensor([[1.0, -1.0], [-1.0, 2.0]])), weighting.needs
    (tensor([1.0000, 0.7500]), 'row count')
    >>> weighting(torch.eye(2)), weighting.needs
    (tensor([1.0000, 0.7500]), 'gramian')
    """

    traits = Traits(state="m", cost="that of the wrapped weighting, every k-th call")
    every = Count("The period, k.", low=1)

    _weights: Tensor | None

    def __init__(self, weighting: Weighting[Any], every: int) -> None:
        super().__init__(weighting)
        self.every = every
        self.register_buffer("_weights", None)
        # How many calls have used the weights. On the host, where it is decided what to compute.
        self._uses = 0

    @property
    def needs(self) -> Any:
        """What the next call reads: the number of rows, if it uses weights again."""
        return "row count" if self._is_due_again() else self.weighting.needs

    @property
    def needs_losses(self) -> bool:
        """Whether the next call reads the values of the objectives."""
        return not self._is_due_again() and self.weighting.needs_losses

    def reset(self) -> None:
        """Forget the past, that of the wrapped weighting too."""
        self._weights, self._uses = None, 0
        super().reset()

    def forward(self, stat: Tensor, /, *, losses: Tensor | None = None) -> Tensor:
        """Return the weights, of the shape and dtype of those of the wrapped weighting."""
        kept = self._weights
        if kept is not None and kept.shape != stat.shape[: kept.ndim]:
            raise ValueError(
                f"`PeriodicWeighting` keeps weights of shape {list(kept.shape)}, and was called "
                f"with a matrix of shape {list(stat.shape)}: the objectives are others. Call "
                "`reset()` first, or use an object for each set of them."
            )
        if kept is not None and self._is_due_again():
            self._uses += 1
            return kept.to(stat.device, copy=True)
        weights: Tensor = self.weighting(stat, losses=losses)
        if bool(torch.isfinite(weights).all() & torch.isfinite(stat).all()):
            self._weights, self._uses = weights.detach().clone(), 1
        return weights

    def get_extra_state(self) -> Tensor:
        """Return how many calls have used the weights, for the ``state_dict``."""
        return torch.tensor(self._uses, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Continue from what a ``state_dict`` says."""
        self._uses = int(state)

    def _is_due_again(self) -> bool:
        """Return whether the next call uses the weights that are kept."""
        return self._weights is not None and self._uses < self.every

    def check(self, stat: object) -> Tensor:
        # The wrapped weighting might want a square, where there is no more than a number of rows.
        if self._is_due_again():
            return Weighting.check(self, stat)
        return super().check(stat)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **named: Any
    ) -> None:
        # What is saved may be of a problem that this object has not seen, or of one less.
        saved = state_dict.get(f"{prefix}_weights")
        self._weights = None if saved is None else torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)
