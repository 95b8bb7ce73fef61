"""The projector that methods use unless told otherwise."""

from torch import Tensor

from jd_aggregators._on_host import on_host

from ._active_sets import project_few_rows, project_on_cpu
from ._base import CorrelationProjector
from ._resident import project_on_device


class ExactProjector(CorrelationProjector):
    r"""Project onto the dual cone exactly, where the Gramian is: the default.

    On the CPU as :class:`~jd_aggregators.ActiveSetProjector` does; on other devices, and where
    torch compiles, as :class:`~jd_aggregators.ResidentProjector`, which copies nothing to the host.
    Both solve the problem on the correlation Gramian, without regularisation and whatever the
    lengths of the rows: from a float64 Gramian no row :math:`g_i` has
    :math:`g_i \cdot d < -10^{-9} \|g_i\| \max_j \|g_j\|`.

    :param damping: What is added to the diagonal of the correlation Gramian, whose mean is 1. With
        0 the projection is exact.
    :raises TypeError: If ``damping`` is no real number.
    :raises ValueError: If ``damping`` is negative or not finite; when called, if shapes do not fit.

    >>> import torch
    >>> from torchjd.linalg import ExactProjector
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> ExactProjector()(torch.eye(2, dtype=torch.float64), J @ J.T)
    tensor([[1.0000, 0.5000],
            [1.0000, 1.0000]], dtype=torch.float64)
    """

    def _project(self, U: Tensor, G: Tensor, start: Tensor | None) -> Tensor:
        project = project_on_cpu if on_host(G) else project_on_device
        return project(U, G, self.damping, start)

    def project_rows(self, p: Tensor, G: Tensor) -> Tensor:
        found = project_few_rows(p, G, self.damping) if on_host(G) else None
        return super().project_rows(p, G) if found is None else found
