"""DualProj: the mean of the gradients, projected to conflict with none."""

from torch import Tensor

from torchjd.aggregation import Traits
from torchjd.linalg import DualConeProjector

from ._dual_cone_weighting import DualConeAggregator, DualConeWeighting


class DualProjWeighting(DualConeWeighting):
    r"""Weights of the projection of the mean of the rows onto the dual cone of the rows.

    .. math:: w \in \arg\min_{v \ge p} v^\top G v, \qquad G = J J^\top,

    with :math:`p` the preference, by default :math:`1/m` each. Source: Lopez-Paz and Ranzato,
    "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, section 3, with the mean in
    place of the newest task's gradient.

    :param pref_vector: The preference :math:`p`, of shape ``[m]``, at least 0. Default: the mean.
    :param projector: The solver. Default: :class:`~jd_aggregators.ExactProjector`, exact.
    :param warm_start: Whether the active sets of the last call start the next, which saves time
        from some 40 rows on where these are ill-conditioned, and little elsewhere. The sets are
        part of the ``state_dict``, and dropped when m changes.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``pref_vector`` is negative, not finite or no vector; when called, if it
        does not have ``m`` entries.

    >>> import torch
    >>> from torchjd.aggregation import DualProjWeighting
    >>> J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    >>> DualProjWeighting()(J @ J.T)
    tensor([0.6111, 0.5000])
    """

    def _weigh(self, preference: Tensor, gramian: Tensor) -> Tensor:
        return self._project(preference[None, :], gramian)[0]


class DualProj(DualConeAggregator):
    r"""The mean of the rows of :math:`J`, projected onto the dual cone of the rows.

    .. math:: \mathcal{A}(J) = \pi_J(J^\top p), \qquad
        \pi_J(x) = \arg\min_{y :\, J y \ge 0} \|y - x\|

    No row conflicts with the result: :math:`g_i \cdot \mathcal{A}(J) \ge 0`. Source: Lopez-Paz and
    Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, section 3.

    :param pref_vector: The preference :math:`p`, of shape ``[m]``, at least 0. Default: the mean.
    :param projector: The solver. Default: :class:`~jd_aggregators.ExactProjector`, exact.
    :param warm_start: Whether the active sets of the last call start the next, which saves time
        from some 40 rows on where these are ill-conditioned, and little elsewhere. The sets are
        part of the ``state_dict``, and dropped when m changes.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``pref_vector`` is negative, not finite or no vector; when called, if it
        does not have ``m`` entries.

    >>> import torch
    >>> from torchjd.aggregation import DualProj
    >>> DualProj()(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]))
    tensor([0.5556, 1.1111, 1.1111])
    """

    traits = Traits(no_conflict=True, permutation=True, cost="m^2 n + m^3", on_device=True)

    def __init__(
        self,
        pref_vector: Tensor | None = None,
        projector: DualConeProjector | None = None,
        *,
        warm_start: bool = False,
    ) -> None:
        super().__init__(DualProjWeighting(pref_vector, projector, warm_start=warm_start))
