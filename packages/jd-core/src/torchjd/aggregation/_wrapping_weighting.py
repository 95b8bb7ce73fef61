"""Weightings that change what another weighting is given, or gives."""

from typing import Any

from torch import Tensor

from ._inputs import Needs
from ._stateful import Stateful
from ._weighting import Weighting


class WrappingWeighting(Weighting[Tensor]):
    """Base of weightings around another one: it needs, and refuses, what that one does.

    Subclasses implement ``forward``, and override what they change.

    :param weighting: What is wrapped.
    :raises TypeError: If it is no weighting.

    >>> import torch
    >>> from torchjd.aggregation import GramianWeighting, WrappingWeighting
    >>> class InverseSquare(GramianWeighting):
    ...     def forward(self, gramian, /):
    ...         return 1.0 / gramian.diagonal()
    >>> class SumOfOne(WrappingWeighting):
    ...     def forward(self, stat, /, *, losses=None):
    ...         weights = self.weighting(stat, losses=losses)
    ...         return weights / weights.sum()
    >>> SumOfOne(InverseSquare())(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    tensor([0.2000, 0.8000])
    """

    def __init__(self, weighting: Weighting[Any]) -> None:
        super().__init__()
        if not isinstance(weighting, Weighting):
            raise TypeError(f"`weighting` must be a Weighting. Got {_named(weighting)}")
        self.weighting = weighting

    @property
    def needs(self) -> Needs:
        """What the wrapped weighting reads, which may change from call to call."""
        return self.weighting.needs

    @property
    def needs_losses(self) -> bool:
        """Whether the wrapped weighting reads the values of the objectives."""
        return self.weighting.needs_losses

    @property
    def degree(self) -> float | None:
        """That of the wrapped weighting."""
        return self.weighting.degree

    def reset(self) -> None:
        """Forget the past of the wrapped weighting, if it has one."""
        if isinstance(self.weighting, Stateful):
            self.weighting.reset()

    def check(self, stat: object) -> Tensor:
        return self.weighting.check(stat)

    def _count(self, stat: Tensor) -> int:
        return self.weighting._count(stat)

    def __repr__(self) -> str:
        own = self.extra_repr()
        return f"{type(self).__name__}({self.weighting!r}{', ' if own else ''}{own})"


def _named(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}. Pass an instance, for instance `{value.__name__}()`."
    weighting = getattr(value, "weighting", None)
    if isinstance(weighting, Weighting):
        return f"{type(value).__name__}, an aggregator. Pass its weighting, `{weighting!r}`."
    return f"{type(value).__name__}. Pass an instance, for instance `UPGradWeighting()`."
