"""UPGrad: the mean of the gradients, each projected to conflict with none."""

import torch
from torch import Tensor

from torchjd.aggregation import Traits
from torchjd.linalg import DualConeProjector

from ._dual_cone_weighting import DualConeAggregator, DualConeWeighting


class UPGradWeighting(DualConeWeighting):
    r"""Weights of the mean of the rows, each projected onto the dual cone of all rows.

    .. math:: w = \sum_i p_i \, v_i, \qquad
        v_i \in \arg\min_{v \ge e_i} v^\top G v, \qquad G = J J^\top,

    with :math:`e_i` a row of the identity and :math:`p` the preference, by default :math:`1/m`
    each. Source: Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024,
    section 3 and Proposition 1.

    :param pref_vector: The preference :math:`p`, of shape ``[m]``, at least 0. Default: the mean.
    :param projector: The solver. Default: :class:`~jd_aggregators.ExactProjector`, exact.
    :param warm_start: Whether the active sets of the last call start the next, which saves time
        from some 40 rows on where these are ill-conditioned, and little elsewhere. The sets are
        part of the ``state_dict``, and dropped when m changes.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``pref_vector`` is negative, not finite or no vector; when called, if it
        does not have ``m`` entries.

    >>> import torch
    >>> from torchjd.aggregation import UPGradWeighting
    >>> J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    >>> UPGradWeighting()(J @ J.T)
    tensor([1.1111, 0.7895])
    """

    def _weigh(self, preference: Tensor, gramian: Tensor) -> Tensor:
        if self.warm_start:
            return self._project(torch.diag(preference), gramian).sum(0)
        return self.projector.project_rows(preference, gramian)


class UPGrad(DualConeAggregator):
    r"""The mean of the rows of :math:`J`, each projected onto the dual cone of all rows.

    .. math:: \mathcal{A}(J) = \sum_i p_i \, \pi_J(g_i), \qquad
        \pi_J(x) = \arg\min_{y :\, J y \ge 0} \|y - x\|

    No row conflicts with the result: :math:`g_i \cdot \mathcal{A}(J) \ge 0`. It is linear under
    scaling of a row: an objective gets a say in proportion to its gradient. Source: Quinton and
    Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, section 3.

    :param pref_vector: The preference :math:`p`, of shape ``[m]``, at least 0. Default: the mean.
    :param projector: The solver. Default: :class:`~jd_aggregators.ExactProjector`, exact.
    :param warm_start: Whether the active sets of the last call start the next, which saves time
        from some 40 rows on where these are ill-conditioned, and little elsewhere. The sets are
        part of the ``state_dict``, and dropped when m changes.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``pref_vector`` is negative, not finite or no vector; when called, if it
        does not have ``m`` entries.

    >>> import torch
    >>> from torchjd.aggregation import UPGrad
    >>> UPGrad()(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([0.2924, 1.9006, 1.9006])
    """

    traits = Traits(
        no_conflict=True,
        permutation=True,
        linear_under_scaling=True,
        cost="m^2 n + m^4",
        on_device=True,
    )

    def __init__(
        self,
        pref_vector: Tensor | None = None,
        projector: DualConeProjector | None = None,
        *,
        warm_start: bool = False,
    ) -> None:
        super().__init__(UPGradWeighting(pref_vector, projector, warm_start=warm_start))
