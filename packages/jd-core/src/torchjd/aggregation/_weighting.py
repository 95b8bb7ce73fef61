"""Weightings: from a matrix of the objectives to one weight an objective."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from torchjd.linalg import Matrix, PSDMatrix
from torchjd.linalg._checks import as_generalized_gramian, as_gramian, as_matrix, as_square

from ._inputs import Losses, Needs, as_losses
from ._observed_calls import observed_weighting
from ._observers import OBSERVED
from ._traits import Traits

_T_contra = TypeVar("_T_contra", contravariant=True, bound=Tensor)


class Weighting(nn.Module, ABC, Generic[_T_contra]):
    r"""Extract one weight per objective from a matrix of them.

    Subclasses derive from :class:`MatrixWeighting`, :class:`GramianWeighting` or
    :class:`GeneralizedWeighting`, which check the input, and implement :meth:`forward`.

    :cvar needs: What ``forward`` reads: ``"jacobian"``, the whole matrix :math:`J`; ``"gramian"``,
        :math:`J J^\top` alone; ``"cross gramian"``, :math:`J_1 J_2^\top` of two independent
        batches; ``"row count"``, only how many rows there are. The engines compute no more than
        that.
    :cvar needs_losses: Whether ``forward`` also takes the values of the objectives, of shape
        ``[m]``, as the keyword ``losses``.
    :cvar degree: The :math:`k` for which the weights of :math:`s J` are :math:`s^k` times those of
        :math:`J`, for every s > 0: 0 where scale plays no part. None where there is no such
        number. Where there is, aggregators scale a Jacobian whose squares leave the range of its
        dtype.
    :cvar traits: What the weighting guarantees and costs.
    """

    if TYPE_CHECKING:  # read-only to type checkers: a subclass may declare a value, or a property

        @property
        def needs(self) -> Needs: ...
        @property
        def needs_losses(self) -> bool: ...
        @property
        def degree(self) -> float | None: ...

    else:
        needs = "jacobian"
        needs_losses = False
        degree = None

    traits: ClassVar[Traits] = Traits()

    @abstractmethod
    def forward(self, stat: _T_contra, /, *args: Any, **kwargs: Any) -> Tensor:
        """Return the weights; ``stat``, and ``losses`` if they are needed, have been checked."""

    def check(self, stat: object) -> Tensor:
        """Return ``stat``, or raise what is wrong with it."""
        if self.needs == "cross gramian":
            return as_square(stat, "cross_gramian")
        return as_matrix(stat, "matrix")

    def _count(self, stat: Tensor) -> int:
        """Return how many objectives ``stat`` is of."""
        return stat.shape[0]

    def __call__(self, stat: Tensor, /, *, losses: Losses | None = None) -> Tensor:
        """Check the inputs, then return the weights, through the module's hooks.

        :param stat: The matrix.
        :param losses: The values of the objectives, one element a row; needed by some methods, and
            ignored by the others.
        :raises TypeError: If ``stat`` is not a real floating-point tensor, or ``losses`` are needed
            and missing.
        :raises ValueError: If a shape is not the one required.
        """
        checked = self.check(stat)
        if self.needs_losses:
            values = as_losses(losses, self._count(checked), type(self).__name__)
            if OBSERVED.in_use:
                return observed_weighting(self, super().__call__, checked, {"losses": values})
            with_losses: Tensor = super().__call__(checked, losses=values)
            return with_losses
        if OBSERVED.in_use:
            return observed_weighting(self, super().__call__, checked, {})
        result: Tensor = super().__call__(checked)
        return result


class MatrixWeighting(Weighting[Matrix]):
    r"""Extract weights :math:`w \in \mathbb{R}^m` from a matrix :math:`J` of shape ``[m, n]``.

    >>> import torch
    >>> from torchjd.aggregation import MatrixWeighting
    >>> class InverseNorm(MatrixWeighting):
    ...     def forward(self, matrix, /):
    ...         return 1.0 / matrix.norm(dim=1)
    >>> InverseNorm()(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    tensor([0.2000, 0.5000])
    """


class GramianWeighting(Weighting[PSDMatrix]):
    r"""Extract weights :math:`w \in \mathbb{R}^m` from a Gramian :math:`G = J J^\top`.

    ``G`` is symmetric and positive semi-definite up to the rounding of its dtype.

    >>> import torch
    >>> from torchjd.aggregation import GramianWeighting
    >>> class InverseSquare(GramianWeighting):
    ...     def forward(self, gramian, /):
    ...         return 1.0 / gramian.diagonal()
    >>> InverseSquare()(torch.tensor([[4.0, 1.0], [1.0, 2.0]]))
    tensor([0.2500, 0.5000])
    """

    needs: Needs = "gramian"

    def check(self, stat: object) -> Tensor:
        return as_gramian(stat, "gramian")


class GeneralizedWeighting(Weighting[Tensor]):
    """Extract weights of shape ``[d1, ..., dk]`` from a generalized Gramian.

    The Gramian has shape ``[d1, ..., dk, dk, ..., d1]``, as
    :func:`torchjd.linalg.flatten_gramian` explains.
    """

    needs: Needs = "gramian"

    def check(self, stat: object) -> Tensor:
        return as_generalized_gramian(stat, "generalized_gramian")

    def _count(self, stat: Tensor) -> int:
        return stat.shape[: stat.ndim // 2].numel()


def check_weights(weights: Any, m: int, weighting: nn.Module) -> Tensor:
    """Return ``weights`` if they are one real number per objective.

    :raises TypeError: If they are no floating-point tensor.
    :raises ValueError: If their shape is not ``[m]``.
    """
    name = type(weighting).__name__
    if not isinstance(weights, Tensor) or not torch.is_floating_point(weights):
        found = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise TypeError(f"`{name}` must return a floating-point tensor of weights. Got {found}.")
    if weights.shape != (m,):
        raise ValueError(
            f"`{name}` must return one weight per row, of shape [{m}]. Got {list(weights.shape)}."
        )
    return weights
