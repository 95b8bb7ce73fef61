"""Weightings: from a matrix of the objectives to one weight an objective."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from torchjd.linalg import Matrix, PSDMatrix
from torchjd.linalg._checks import as_generalized_gramian, as_gramian, as_matrix

_T_contra = TypeVar("_T_contra", contravariant=True, bound=Tensor)

Needs = Literal["jacobian", "gramian", "row count"]


class Weighting(nn.Module, ABC, Generic[_T_contra]):
    r"""Extract one weight per objective from a matrix of them.

    Subclasses derive from :class:`MatrixWeighting`, :class:`GramianWeighting` or
    :class:`GeneralizedWeighting`, which check the input, and implement :meth:`forward`.

    :cvar needs: What ``forward`` reads: ``"jacobian"``, the whole matrix :math:`J`; ``"gramian"``,
        :math:`J J^\top` alone; ``"row count"``, only how many rows there are. The engines compute
        no more than that.
    """

    needs: ClassVar[Needs] = "jacobian"

    @abstractmethod
    def forward(self, stat: _T_contra, /) -> Tensor:
        """Return the weights; ``stat`` has been checked."""

    def _check(self, stat: object) -> Tensor:
        """Return ``stat``, or raise what is wrong with it."""
        return as_matrix(stat, "matrix")

    def __call__(self, stat: Tensor, /) -> Tensor:
        """Check ``stat``, then return the weights, through the module's hooks.

        :raises TypeError: If ``stat`` is not a real floating-point tensor.
        :raises ValueError: If its shape is not the one required.
        """
        result: Tensor = super().__call__(self._check(stat))
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

    needs: ClassVar[Needs] = "gramian"

    def _check(self, stat: object) -> Tensor:
        return as_gramian(stat, "gramian")


class GeneralizedWeighting(Weighting[Tensor]):
    """Extract weights of shape ``[d1, ..., dk]`` from a generalized Gramian.

    The Gramian has shape ``[d1, ..., dk, dk, ..., d1]``, as
    :func:`torchjd.linalg.flatten_gramian` explains.
    """

    needs: ClassVar[Needs] = "gramian"

    def _check(self, stat: object) -> Tensor:
        return as_generalized_gramian(stat, "generalized_gramian")


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
