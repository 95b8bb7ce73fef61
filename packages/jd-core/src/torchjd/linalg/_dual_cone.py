"""The interface of the solvers that project onto the dual cone of a Jacobian's rows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ._kkt import KKTResidual, kkt_residual


@dataclass(frozen=True)
class Projection:
    """What a solver knows of a projection onto the dual cone.

    :ivar weights: The weights of the projections, of shape ``[..., k, m]``.
    :ivar active: Which weights are above their bounds, of the same shape, dtype bool: the rows to
        which the projection is orthogonal.
    :ivar residual: The certificate, if it was asked for.
    """

    weights: Tensor
    active: Tensor
    residual: KKTResidual | None = None


class DualConeProjector(ABC):
    r"""Project combinations of a Jacobian's rows onto the dual cone of these rows.

    The dual cone of :math:`J \in \mathbb{R}^{m \times n}` is
    :math:`\{x \mid J x \ge 0\}`: the updates along which, to first order, no objective is made
    worse. The projection of :math:`J^\top u` onto it is :math:`J^\top v`, where

    .. math:: v \in \arg\min_{v \ge u} \; v^\top G v, \qquad G = J J^\top,

    so the Gramian is all that a solver needs. Source: Quinton and Rey, "Jacobian Descent for
    Multi-Objective Optimization", 2024, Proposition 1.

    A projector holds settings only: one object may serve several methods.

    :cvar damping: What the solver adds to ``G``, relative to its diagonal; 0 if it is exact.
    """

    damping: float = 0.0

    @abstractmethod
    def __call__(self, U: Tensor, G: Tensor) -> Tensor:
        r"""Return the weights :math:`V` of the projections.

        :param U: The combinations to project, of shape ``[..., k, m]``.
        :param G: The Gramian, of shape ``[..., m, m]``, symmetric and positive semi-definite up to
            the rounding of its dtype.
        :returns: Weights of the shape of ``U``, at least ``U``. Where ``G`` is not finite they are
            NaN, and so is the row of a combination that is not.
        """

    def project_rows(self, p: Tensor, G: Tensor) -> Tensor:
        r"""Return the weights of :math:`\sum_i p_i \, \pi_J(g_i)`: all rows projected, and added.

        :param p: What each projection counts, of shape ``[..., m]``, at least 0.
        :param G: The Gramian, of shape ``[..., m, m]``.
        :returns: Weights of the shape of ``p``.
        """
        return self(torch.diag_embed(p), G).sum(-2)

    def solve(
        self, U: Tensor, G: Tensor, *, start: Tensor | None = None, certify: bool = False
    ) -> Projection:
        """Project, and return what else is known of the solution.

        :param U: The combinations to project, of shape ``[..., k, m]``.
        :param G: The Gramian, of shape ``[..., m, m]``.
        :param start: The ``active`` of a similar problem, from which a solver may start. It changes
            the time that the solution takes, never what is right.
        :param certify: Whether to compute the residual, by :func:`torchjd.linalg.kkt_residual`.
        :returns: The weights, the active rows, and the residual if asked for.
        """
        del start  # a solver that has no use for it computes as ever
        weights = self(U, G)
        return self._solved(U, G, weights, certify)

    def _solved(self, U: Tensor, G: Tensor, weights: Tensor, certify: bool) -> Projection:
        residual = kkt_residual(U, G, weights, self.damping) if certify else None
        return Projection(weights, weights > U, residual)
