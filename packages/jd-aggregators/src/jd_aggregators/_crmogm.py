"""CR-MOGM: weights smoothed over the steps."""

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import Traits, Weighting

from ._on_host import on_host
from ._settings import Number, Setting
from ._wrapping import RememberingWrapper


class InitialWeights(Setting[Tensor | None]):
    """The weights to begin with; None for the first that are computed."""

    def checked(self, value: Any) -> Tensor | None:
        """Return a copy of ``value``."""
        if value is None:
            return None
        if not isinstance(value, Tensor) or not value.is_floating_point():
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"`{self.name}` must be a floating-point tensor or None. Got {found}.")
        if value.numel() == 0 or not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"`{self.name}` must have one finite entry per objective. Got {value.tolist()}."
            )
        return value.detach().clone()


class CRMOGMWeighting(RememberingWrapper):
    r"""Average the weights of another weighting over the steps, which takes their noise away.

    .. math:: \lambda_k = \alpha \lambda_{k-1} + (1 - \alpha) \hat\lambda_k

    with :math:`\hat\lambda_k` what the wrapped weighting gives in call :math:`k`, of shape
    ``[m]``, and :math:`\lambda_0` the initial weights: by default :math:`\hat\lambda_1`, so that
    the first weights are returned as they are. What the wrapped weighting guarantees of its own
    weights, such as that no objective is harmed, the average does not. It works around any
    weighting, in the aggregator that would fit that one. Source: Zhou et al., "On the Convergence
    of Stochastic Multi-Objective Gradient Manipulation and Beyond", NeurIPS 2022, section 4.

    :param weighting: What computes the weights, :math:`\hat\lambda`.
    :param alpha: How much of the last average is kept, :math:`\alpha`: 0 for no average, 1 for the
        initial weights forever.
    :param initial_weights: The weights :math:`\lambda_0`, of the shape of those of ``weighting``.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``alpha`` is not from 0 to 1, or ``initial_weights`` are empty or not
        finite; when called, if the number of objectives has changed, or is not that of
        ``initial_weights``.

    >>> import torch
    >>> from torchjd.aggregation import CRMOGMWeighting, UPGradWeighting
    >>> weighting = CRMOGMWeighting(UPGradWeighting(), alpha=0.5)
    >>> weighting(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([0.5000, 0.5000])
    >>> weighting(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]))  # alone: 1.0 and 0.75
    tensor([0.7500, 0.6250])
    """

    traits = Traits(state="m", cost="that of the wrapped weighting", on_device=True, compiles=True)
    remembers = ("_weights",)
    alpha = Number("How much of the last average is kept.", low=0.0, high=1.0)
    initial_weights = InitialWeights("The weights to begin with; None for the first computed.")

    _weights: Tensor | None

    def __init__(
        self,
        weighting: Weighting[Any],
        alpha: float = 0.9,
        initial_weights: Tensor | None = None,
    ) -> None:
        super().__init__(weighting)
        self.alpha = alpha
        self.initial_weights = initial_weights

    def forward(self, stat: Tensor, /, *, losses: Tensor | None = None) -> Tensor:
        """Return the averaged weights, of the shape and dtype of those of the wrapped weighting."""
        last = self._last(stat)
        # Where the Jacobian is not seen, nothing of it can be wrong.
        seen = None if self.weighting.needs == "row count" else stat
        new: Tensor = self.weighting(stat, losses=losses)
        if on_host(new):
            return self._average_here(new, last, seen)
        # NaN stands for no average yet: whether there is one is not known on the host.
        last = torch.full_like(new, torch.nan) if last is None else last.to(new)
        average = torch.lerp(new, torch.where(last.isnan(), new, last), self.alpha)
        sound = torch.isfinite(average).all()
        sound = sound if seen is None else sound & torch.isfinite(seen).all()
        self._weights = torch.where(sound, average, last).detach()
        return average

    def _average_here(self, new: Tensor, last: Tensor | None, seen: Tensor | None) -> Tensor:
        """Average on the CPU, where there is little to compute: each call of torch counts."""
        average = new if last is None else torch.lerp(new, last.to(new), self.alpha)
        sound = _is_finite(average)
        if not sound and _is_finite(new):  # `last` is NaN, from a device
            average, sound = new, True
        if sound and (seen is None or _is_finite(seen)):
            # What `Module.__setattr__` does for a buffer, in a tenth of the time.
            self._buffers["_weights"] = average.detach().clone()
        return average

    def _last(self, stat: Tensor) -> Tensor | None:
        """Return the last average, or the initial weights, if they fit the objectives."""
        kept = self._weights
        # Of a Gramian, of [m, m] or [d1, ..., dk, dk, ..., d1], and of [m, n]: the first half.
        shape = stat.shape[: stat.ndim // 2]
        if kept is not None:
            return kept if kept.shape == shape else self.recall("_weights", tuple(shape), kept)
        first = self.initial_weights
        if first is not None and first.shape != shape:
            raise ValueError(
                "`initial_weights` must have one entry per objective, shape "
                f"{list(shape)}. Got {list(first.shape)}."
            )
        return first


def _is_finite(tensor: Tensor) -> bool:
    # A finite sum is the fast answer; one that is not may have overflowed.
    return isfinite(float(tensor.sum())) or bool(torch.isfinite(tensor).all())
