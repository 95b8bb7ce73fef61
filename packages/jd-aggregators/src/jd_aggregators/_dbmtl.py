"""DBMTL: gradients of the logarithms of the losses, averaged over the calls, of the same length."""

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Traits
from torchjd.linalg import Matrix

from ._fixed import weight_dtype
from ._losses import nonnegative_losses
from ._precision import wide
from ._remembering import Remembering
from ._settings import Configured, Number


class DBMTL(Configured, Remembering, Aggregator):
    r"""The sum of the averaged gradients of the log losses, all made as long as the longest.

    .. math:: \hat g_i \leftarrow \beta_k \hat g_i
        + (1 - \beta_k) \frac{g_i}{\ell_i + \epsilon}, \qquad
        \mathcal{A}(J) = \max_j \| \hat g_j \| \, \sum_i \frac{\hat g_i}{\| \hat g_i \|},

    with :math:`g_i` the rows of the Jacobian, of shape ``[m, n]``, :math:`\ell_i` the losses, whose
    logarithms have the gradients :math:`g_i / \ell_i`, :math:`\hat g_i` at first 0, and
    :math:`\beta_k = \beta / k^\sigma` in the k-th call. So neither the unit of a loss nor the
    length of its gradient tells how much it counts. Source: Lin et al., "Dual-Balancing for
    Multi-Task Learning", arXiv 2308.12029, algorithm 1.

    A call takes ``losses``, of shape ``[m]``, at least 0. A loss below that is refused where it can
    be read; on a GPU, where to read it would be to wait, it makes the result NaN.

    .. note::
        Since the averages begin at 0, the first results are shorter by :math:`1 - \beta_1`. Rows
        whose average is zero stay zero.

    :param beta: How much of the averages is kept, :math:`\beta`, at least 0 and less than 1.
    :param beta_sigma: How fast that falls, :math:`\sigma`, at least 0. The authors search among 0
        and 0.5.
    :param eps: What keeps a loss of 0 from division by 0, :math:`\epsilon`, greater than 0.
    :raises TypeError: If a parameter is no number; when called, if ``losses`` are missing.
    :raises ValueError: If a parameter is out of range; when called, if a loss is negative, or the
        shape of the Jacobian changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import DBMTL
    >>> aggregator = DBMTL(beta=0.5)
    >>> aggregator(torch.tensor([[4.0, 0.0], [0.0, 6.0]]), losses=torch.tensor([1.0, 3.0]))
    tensor([2., 2.])
    """

    needs_losses = True
    traits = Traits(
        permutation=True,
        scaling="s, over all calls",
        state="m n",
        cost="m n",
        on_device=True,
        compiles=True,
    )
    remembers = ("_averaged",)
    beta = Number("How much of the averages is kept.", low=0.0, below=1.0)
    beta_sigma = Number("How fast that falls.", low=0.0)
    eps = Number("What is added to the losses.", above=0.0)

    def __init__(self, beta: float = 0.9, beta_sigma: float = 0.0, *, eps: float = 1e-8) -> None:
        super().__init__()
        self.beta = beta
        self.beta_sigma = beta_sigma
        self.eps = eps

    def forward(self, matrix: Matrix, /, *, losses: Tensor) -> Tensor:
        """Return the aggregation, of shape ``[n]``."""
        rows = matrix.detach().to(weight_dtype(matrix))
        to_compute = wide(rows)
        divisors = nonnegative_losses(losses, rows.new_empty(0, dtype=to_compute)) + self.eps
        gradients = rows / divisors.to(rows.dtype)[:, None]
        beta = self.beta * self.count(rows) ** -self.beta_sigma
        last = self.recall("_averaged", tuple(rows.shape), rows)
        averaged = torch.lerp(gradients, last, beta)
        # In float64, no square leaves the range that the entries themselves have.
        lengths = torch.linalg.vector_norm(averaged, dim=1, dtype=to_compute)
        longest = lengths.amax()
        # The longest comes last: the ratio of two lengths may leave the range of the rows' dtype.
        inverse = lengths.clamp_min(2.0 / torch.finfo(rows.dtype).max).reciprocal()
        direction = longest * (inverse.to(rows.dtype) @ averaged)
        total = longest + divisors.sum()
        sound = total - total == 0
        self.remember(sound, _averaged=averaged)
        return torch.where(sound, direction, torch.nan).to(matrix.dtype)
