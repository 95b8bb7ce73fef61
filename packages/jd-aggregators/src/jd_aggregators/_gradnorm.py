"""GradNorm: weights that are learnt, so that objectives train at similar rates."""

import torch
from torch import Tensor

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits
from torchjd.linalg import PSDMatrix

from ._fixed import weight_dtype
from ._losses import nonnegative_losses
from ._precision import widened
from ._remembering import Remembering, ResetsWeighting
from ._settings import Configured, Number, OfWeighting


class GradNormWeighting(Configured, Remembering, GramianWeighting):
    r"""Weights of sum m that follow how fast the losses fall.

    .. math:: w_i \leftarrow w_i - \eta \, n_i \operatorname{sign}(w_i n_i - t_i), \qquad
        t_i = \Big( \frac1m \sum_j w_j n_j \Big) \, r_i^\alpha, \qquad
        r_i = \frac{\tilde\ell_i}{\frac1m \sum_j \tilde\ell_j}, \quad
        \tilde\ell_i = \frac{\ell_i}{\ell_i(0)},

    and then divided by their mean. Here :math:`n_i = \sqrt{G_{ii}}` are the lengths of the rows of
    the Jacobian, with its Gramian G of shape ``[m, m]``, :math:`\ell_i` the losses, and
    :math:`\ell_i(0)` those of the first call. It is a step of gradient descent of
    :math:`\sum_i | w_i n_i - t_i |`, with the targets :math:`t_i` held fixed. The weights begin at
    1, and a call returns those from before its update. Source: Chen, Badrinarayanan, Lee and
    Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
    Networks", ICML 2018, equations 1 and 2 and algorithm 1.

    A call takes ``losses``, of shape ``[m]``, at least 0. A loss below that is refused where it can
    be read; on a GPU, where to read it would be to wait, it makes the weights NaN.

    .. note::
        The paper does not say what to do with a weight that a step makes negative: it becomes
        ``min_weight``, before the division. As long as a loss has been 0 at all calls, its
        :math:`\tilde\ell_i` counts as 1; afterwards the first value above 0 is its
        :math:`\ell_i(0)`. The paper takes the gradients of the last shared layer: to do so, give
        that layer's.

    :param alpha: How strongly slower objectives are favoured, :math:`\alpha`, at least 0.
    :param lr: The step size :math:`\eta`, greater than 0. It has to suit the lengths of the
        gradients.
    :param min_weight: The least weight that a step may lead to, greater than 0 and less than 1.
    :raises TypeError: If a parameter is no number; when called, if ``losses`` are missing.
    :raises ValueError: If a parameter is out of range; when called, if a loss is negative, or the
        number of objectives changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import GradNormWeighting
    >>> weighting = GradNormWeighting(lr=0.1)
    >>> losses = torch.tensor([1.0, 1.0])
    >>> weighting(torch.diag(torch.tensor([4.0, 1.0])), losses=losses)
    tensor([1., 1.])
    >>> weighting(torch.diag(torch.tensor([4.0, 1.0])), losses=losses)
    tensor([0.8421, 1.1579])
    """

    needs_losses = True
    # How far the weights are from 1: zeros before the first call, which is no case of its own then.
    remembers = ("_offset", "_first_losses")
    alpha = Number("How strongly slower objectives are favoured.", low=0.0)
    lr = Number("The step size.", above=0.0)
    min_weight = Number("The least weight that a step may lead to.", above=0.0, below=1.0)

    def __init__(self, alpha: float = 1.5, lr: float = 0.025, *, min_weight: float = 1e-3) -> None:
        super().__init__()
        self.alpha = alpha
        self.lr = lr
        self.min_weight = min_weight

    def forward(self, gramian: PSDMatrix, /, *, losses: Tensor) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``gramian`` or float32."""
        lengths = widened(gramian.diagonal()).clamp_min(0.0).sqrt()
        values = nonnegative_losses(losses, lengths)
        m = lengths.shape[0]
        weights = self.recall("_offset", (m,), lengths) + 1.0
        first = self.recall("_first_losses", (m,), lengths)
        first = torch.where(first > 0, first, values)

        norms = weights * lengths
        targets = norms.mean() * _relative_rates(values, first) ** self.alpha
        moved = weights - self.lr * lengths * torch.sign(norms - targets)
        moved = moved.clamp_min(self.min_weight)
        moved = moved / moved.mean()

        # Entries off the diagonal play no part, but what is not finite in them must be seen.
        total = gramian.detach().sum(dtype=lengths.dtype) + values.sum()
        sound = total - total == 0
        self.remember(sound, _offset=moved - 1.0, _first_losses=first)
        return torch.where(sound, weights, torch.nan).to(weight_dtype(gramian))


def _relative_rates(values: Tensor, first: Tensor) -> Tensor:
    """Return the inverse training rates over their mean, of shape ``[m]``."""
    tiny = torch.finfo(values.dtype).tiny
    rates = torch.where(first > 0, values / first.clamp_min(tiny), 1.0)
    return rates / rates.mean().clamp_min(tiny)


class GradNorm(ResetsWeighting, GramianWeightedAggregator):
    r"""The rows with weights of sum m, learnt so that slower objectives have longer rows.

    .. math:: \mathcal{A}(J) = J^\top w, \qquad
        w_i \|g_i\| \;\to\; \Big( \frac1m \sum_j w_j \|g_j\| \Big) \, r_i^\alpha, \qquad
        r_i \propto \frac{\ell_i}{\ell_i(0)},

    by one step of gradient descent a call, after which the weights are divided by their mean; J is
    of shape ``[m, n]``, and :math:`r` has the mean 1. The first call returns the sum of the rows.
    A call takes ``losses``, of shape ``[m]``, at least 0. A loss below that is refused where it can
    be read; on a GPU it makes the result NaN. Source: Chen, Badrinarayanan, Lee and Rabinovich,
    "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML
    2018, equations 1 and 2 and algorithm 1.

    :param alpha: How strongly slower objectives are favoured, :math:`\alpha`, at least 0.
    :param lr: The step size, greater than 0. It has to suit the lengths of the gradients.
    :param min_weight: The least weight that a step may lead to, greater than 0 and less than 1.
    :raises TypeError: If a parameter is no number; when called, if ``losses`` are missing.
    :raises ValueError: If a parameter is out of range; when called, if a loss is negative, or the
        number of objectives changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import GradNorm
    >>> aggregator = GradNorm(lr=0.1)
    >>> J, losses = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([1.0, 1.0])
    >>> aggregator(J, losses=losses)
    tensor([2., 1.])
    >>> aggregator(J, losses=losses)
    tensor([1.6842, 1.1579])
    """

    weighting: GradNormWeighting
    traits = Traits(permutation=True, state="m", cost="m^2 n", on_device=True, compiles=True)
    alpha = OfWeighting(GradNormWeighting.alpha)
    lr = OfWeighting(GradNormWeighting.lr)
    min_weight = OfWeighting(GradNormWeighting.min_weight)

    def __init__(self, alpha: float = 1.5, lr: float = 0.025, *, min_weight: float = 1e-3) -> None:
        super().__init__(GradNormWeighting(alpha, lr, min_weight=min_weight))
