"""What the weightings that wrap another one have in common."""

from typing import Any

from torch import Tensor

from torchjd.aggregation import Stateful, Weighting

from ._remembering import Remembering
from ._settings import Configured


class WrappingWeighting(Configured, Weighting[Tensor]):
    """Weights that are those of another weighting, changed.

    It needs what that one needs, and refuses what that one refuses.

    :param weighting: What is wrapped.
    :raises TypeError: If it is no weighting.
    """

    def __init__(self, weighting: Weighting[Any]) -> None:
        super().__init__()
        if not isinstance(weighting, Weighting):
            raise TypeError(f"`weighting` must be a Weighting. Got {_named(weighting)}")
        self.weighting = weighting

    @property
    def needs(self) -> Any:  # type: ignore[override]  # it may change from call to call
        """What the wrapped weighting reads."""
        return self.weighting.needs

    @property
    def needs_losses(self) -> bool:  # type: ignore[override]  # likewise
        """Whether the wrapped weighting reads the values of the objectives."""
        return self.weighting.needs_losses

    @property
    def degree(self) -> float | None:  # type: ignore[override]  # likewise
        """0 where scale plays no part in the wrapped weighting, else None.

        Weights of several calls meet here. Those that depend on the scale would do so on a
        different one in each call, if aggregators scaled the Jacobian.
        """
        return 0.0 if self.weighting.degree == 0 else None

    def reset(self) -> None:
        """Forget the past, that of the wrapped weighting too."""
        if isinstance(self.weighting, Stateful):
            self.weighting.reset()

    def check(self, stat: object) -> Tensor:
        return self.weighting.check(stat)

    def __repr__(self) -> str:
        own = self.extra_repr()
        return f"{type(self).__name__}({self.weighting!r}{', ' if own else ''}{own})"


class RememberingWrapper(WrappingWeighting, Remembering):
    """A weighting that wraps another one, and remembers tensors between calls."""

    def reset(self) -> None:
        """Forget the past, that of the wrapped weighting too."""
        Remembering.reset(self)
        super().reset()


def _named(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}. Pass an instance, for instance `{value.__name__}()`."
    weighting = getattr(value, "weighting", None)
    if isinstance(weighting, Weighting):
        return f"{type(value).__name__}, an aggregator. Pass its weighting, `{weighting!r}`."
    return f"{type(value).__name__}. Pass an instance, for instance `UPGradWeighting()`."
