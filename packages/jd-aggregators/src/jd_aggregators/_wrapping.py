"""What the weightings that wrap another one have in common."""

from torchjd.aggregation import WrappingWeighting

from ._remembering import Remembering
from ._settings import Configured


class ChangedWeighting(Configured, WrappingWeighting):
    """Weights that are those of another weighting, changed.

    :param weighting: What is wrapped.
    :raises TypeError: If it is no weighting.
    """

    @property
    def degree(self) -> float | None:
        """0 where scale plays no part in the wrapped weighting, else None.

        Weights of several calls meet here. Those that depend on the scale would do so on a
        different one in each call, if aggregators scaled the Jacobian.
        """
        return 0.0 if self.weighting.degree == 0 else None


class RememberingWrapper(ChangedWeighting, Remembering):
    """A weighting that wraps another one, and remembers tensors between calls."""

    def reset(self) -> None:
        """Forget the past, that of the wrapped weighting too."""
        Remembering.reset(self)
        super().reset()
