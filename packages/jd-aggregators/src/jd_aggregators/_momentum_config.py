"""MomentumConFIG: ConFIG of the momenta, in steps like those of Adam."""

from math import log, sqrt

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Traits
from torchjd.linalg import Matrix

from ._config import ConFIG
from ._remembering import Remembering
from ._settings import Configured, Number


class MomentumConFIG(Configured, Remembering, Aggregator):
    r"""ConFIG of the momentum of each row, each entry over the root of its second moment.

    At call t, with :math:`\mathcal{G}` the update of :class:`~jd_aggregators.ConFIG`, for every row
    :math:`g_i` of :math:`J`, of shape ``[m, n]``, and entrywise for vectors of shape ``[n]``,

    .. math:: m_i &\leftarrow \beta_1 m_i + (1 - \beta_1) g_i, \qquad
        \hat{g} = \mathcal{G}\!\left(\frac{m_1}{1 - \beta_1^t}, \dots,
            \frac{m_m}{1 - \beta_1^t}\right), \\
        \tilde{g} &= \frac{(1 - \beta_1^t) \hat{g} - \beta_1 m}{1 - \beta_1}, \qquad
        m \leftarrow (1 - \beta_1^t) \hat{g}, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) \tilde{g}^2, \\
        \mathcal{A}(J) &= \frac{\hat{g}}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}.

    :math:`\tilde{g}` is the gradient whose momentum would be :math:`\hat{g}`. As after a step of
    Adam, the entries are of the size of 1, whatever that of the gradients: combine it with plain
    SGD and a learning rate for Adam, and not with Adam. Dividing the entries may turn the update
    into conflict with a row. Source: Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free Training
    of Physics Informed Neural Networks", ICLR 2025, section 3.3 and Algorithm 1 (M-ConFIG).

    :param beta1: How much of the momentum is kept from one call to the next, in [0, 1).
    :param beta2: How much of the second moment is kept, in [0, 1).
    :param eps: What is added to the root of the second moment, at least 0.
    :raises TypeError: If a parameter is no number.
    :raises ValueError: If a parameter is out of bounds; when called, if the shape of the Jacobian
        is not that of the calls before.

    .. note::
        In the paper each call brings the gradient of one objective, and refreshes its momentum
        alone, which saves the other backward passes. Here each call brings all rows and refreshes
        all momenta, so that they share one t.

    >>> import torch
    >>> from torchjd.aggregation import MomentumConFIG
    >>> aggregator = MomentumConFIG()
    >>> aggregator(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1., 1.])
    >>> aggregator(torch.tensor([[1.0, 0.0], [0.0, -4.0]]))
    tensor([ 0.3134, -0.2028])
    """

    traits = Traits(permutation=True, scaling="1, but for eps", state="m n", cost="m^2 n + m^3")
    remembers = ("_momenta", "_combined", "_root")
    beta1 = Number("How much of the momentum is kept.", low=0.0, below=1.0)
    beta2 = Number("How much of the second moment is kept.", low=0.0, below=1.0)
    eps = Number("What is added to the root of the second moment.", low=0.0)

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__()
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self._config = ConFIG()

    @torch.no_grad()
    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the update, of shape ``[n]``; the momenta advance."""
        rows = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
        m, n = rows.shape
        momenta = self.recall("_momenta", (m, n), rows).lerp(rows, 1.0 - self.beta1)
        unbiased = self._weight_so_far(self.beta1, rows)
        found = self._config(momenta / unbiased)
        combined = found * unbiased
        last = self.recall("_combined", (n,), rows)
        gradient = (combined - self.beta1 * last) / (1.0 - self.beta1)
        # The root, and not the second moment itself: the square may leave the range of the dtype.
        root = self.recall("_root", (n,), rows)
        root = torch.hypot(sqrt(self.beta2) * root, sqrt(1.0 - self.beta2) * gradient)
        size = root / self._weight_so_far(self.beta2, rows).sqrt() + self.eps
        sound = torch.isfinite(root).all()
        update = torch.where(size > 0, found / size, 0.0)
        self.remember(sound, _momenta=momenta, _combined=combined, _root=root)
        return torch.where(sound, update, torch.nan).to(matrix.dtype)

    def _weight_so_far(self, beta: float, like: Tensor) -> Tensor:
        r"""Return :math:`1 - \beta^t` at call t, of shape ``[]``."""
        before = like.new_zeros(()) if self._calls is None else self._calls.to(like)
        return -torch.expm1((before + 1.0) * (log(beta) if beta else -torch.inf))
