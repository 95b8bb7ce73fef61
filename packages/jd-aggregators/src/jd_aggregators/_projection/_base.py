"""What the projectors have in common: the checks, the scaling, the damping."""

from abc import abstractmethod

import torch
from torch import Tensor

from torchjd.linalg import DualConeProjector, Projection


class CorrelationProjector(DualConeProjector):
    """A projector that solves the problem on the correlation Gramian.

    :param damping: What is added to the diagonal of the correlation Gramian, whose mean is 1.
    :raises TypeError: If ``damping`` is no real number.
    :raises ValueError: If ``damping`` is negative or not finite.
    """

    def __init__(self, *, damping: float = 0.0) -> None:
        self.damping = damping

    @property
    def damping(self) -> float:
        """What is added to the diagonal of the correlation Gramian."""
        return self._damping

    @damping.setter
    def damping(self, value: float) -> None:
        self._damping = nonnegative(value, "damping")

    def __call__(self, U: Tensor, G: Tensor) -> Tensor:
        r"""Return the weights :math:`V` of the projections.

        :param U: The combinations to project, of shape ``[..., k, m]``.
        :param G: The Gramian, of shape ``[..., m, m]``, of the same leading dimensions.
        :returns: A tensor of the shape and device of ``U``, of dtype float64 (float32 on devices
            without float64). NaN where ``G`` is not finite, and in the row of a combination that is
            not.
        :raises ValueError: If the shapes do not fit.
        """
        return self._project(*checked(U, G), None)

    def solve(
        self, U: Tensor, G: Tensor, *, start: Tensor | None = None, certify: bool = False
    ) -> Projection:
        """Project, and return what else is known of the solution.

        :param U: The combinations to project, of shape ``[..., k, m]``.
        :param G: The Gramian, of shape ``[..., m, m]``.
        :param start: The ``active`` of a similar problem, from which the solver may start. It
            changes the time that the solution takes, never what is right.
        :param certify: Whether to compute the residual, by :func:`torchjd.linalg.kkt_residual`.
        :returns: The weights, the active rows, and the residual if asked for.
        :raises ValueError: If the shapes do not fit.
        """
        u, gramian = checked(U, G)
        if start is not None and (start.shape != U.shape or start.dtype != torch.bool):
            raise ValueError(
                f"`start` must be of dtype bool and of the shape of `U`, {list(U.shape)}. "
                f"Got {start.dtype} and {list(start.shape)}."
            )
        weights = self._project(u, gramian, start)
        return self._solved(U, G, weights, certify)

    @abstractmethod
    def _project(self, U: Tensor, G: Tensor, start: Tensor | None) -> Tensor:
        """Return the weights of the projections, in float64 (float32 on devices without).

        :param U: Of shape ``[..., k, m]``, contiguous.
        :param G: Of shape ``[..., m, m]``, contiguous.
        :param start: Which weights are likely above their bounds, of the shape of ``U``.
        """

    def __repr__(self) -> str:
        given = f"damping={self.damping}" if self.damping else ""
        return f"{type(self).__name__}({given})"


def nonnegative(value: float, name: str) -> float:
    """Return ``value`` as a float, if it is a number that is finite and at least 0.

    :raises TypeError: If it is no real number.
    :raises ValueError: If it is negative or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"`{name}` must be a real number. Got {type(value).__name__}.")
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"`{name}` must be finite and at least 0. Got {value}.")
    return float(value)


def checked(U: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
    """Return both detached and contiguous, if their shapes fit.

    :raises ValueError: If they do not.
    """
    m = G.shape[-1] if G.ndim else 0
    fits = G.ndim >= 2 and U.ndim == G.ndim and U.shape[-1] == m and G.shape[-2] == m
    if not fits or U.shape[:-2] != G.shape[:-2]:
        raise ValueError(
            "`U` and `G` must have shapes [..., k, m] and [..., m, m]. "
            f"Got {list(U.shape)} and {list(G.shape)}."
        )
    # Only where it is needed: for a few rows, each call of torch counts.
    u = U.detach() if U.requires_grad else U
    gramian = G.detach() if G.requires_grad else G
    return u.contiguous(), gramian.contiguous()


def rounding(m: int, dtype: torch.dtype) -> float:
    """Return what counts as rounding on a correlation matrix of ``m`` rows."""
    return max(8, m) * torch.finfo(dtype).eps


def ridge(m: int, dtype: torch.dtype) -> float:
    """Return the damping that a Gramian of ``dtype`` needs for its own rounding.

    One of less than float64 is often indefinite, by some units of rounding times the root of ``m``:
    taken at its word, it may say of rows that none can be satisfied. As much on the diagonal hides
    nothing that it can tell.
    """
    return 0.0 if dtype == torch.float64 else (2.0 + m / 4) * torch.finfo(dtype).eps
