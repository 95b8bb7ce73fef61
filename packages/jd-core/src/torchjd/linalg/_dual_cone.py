"""The interface of the solvers that project onto the dual cone of a Jacobian's rows."""

from abc import ABC, abstractmethod

from torch import Tensor


class DualConeProjector(ABC):
    r"""Project combinations of a Jacobian's rows onto the dual cone of these rows.

    The dual cone of :math:`J \in \mathbb{R}^{m \times n}` is
    :math:`\{x \mid J x \ge 0\}`: the updates along which, to first order, no objective is made
    worse. The projection of :math:`J^\top u` onto it is :math:`J^\top v`, where

    .. math:: v \in \arg\min_{v \ge u} \; v^\top G v, \qquad G = J J^\top,

    so the Gramian is all that a solver needs. Source: Quinton and Rey, "Jacobian Descent for
    Multi-Objective Optimization", 2024, Proposition 1.

    A projector holds settings only: one object may serve several methods.
    """

    @abstractmethod
    def __call__(self, U: Tensor, G: Tensor) -> Tensor:
        r"""Return the weights :math:`V` of the projections.

        :param U: The combinations to project, of shape ``[..., k, m]``.
        :param G: The Gramian, of shape ``[..., m, m]``, symmetric and positive semi-definite up to
            the rounding of its dtype.
        :returns: Weights of the shape of ``U``, at least ``U``. Where ``G`` or ``U`` is not finite,
            they are NaN.
        """
