"""STCH: a smooth version of the largest weighted objective."""

import torch
from torch import Tensor

from jd_aggregators._settings import Number
from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._settings import PerValue, Tuned
from ._values import matched, nan_unless_finite, widened


class STCH(Tuned, Scalarizer):
    r"""The smooth Tchebycheff scalarization.

    .. math:: \mu \log \sum_{i=1}^m \exp \frac{w_i (\ell_i - z_i)}{\mu}

    It lies above the largest :math:`w_i (\ell_i - z_i)` by at most :math:`\mu \log m`, and is
    differentiable everywhere. Its minima are Pareto optimal where the weights are positive; for a
    small enough :math:`\mu`, each Pareto optimal point is such a minimum for some weights.

    Source: Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML
    2024.

    :param mu: How smooth, :math:`\mu > 0`; the smaller, the closer to the largest.
    :param weights: How much each value counts, :math:`w`, in the shape of the values: at least 0.
        Default: :math:`1/m` for each.
    :param reference: The ideal point :math:`z`, in the shape of the values. Default: the origin.
    :raises TypeError: If ``mu`` is no number, or another parameter no floating-point tensor.
    :raises ValueError: If a parameter is out of its bounds; when called, if the values have another
        shape than ``weights`` or ``reference``.

    >>> import torch
    >>> from torchjd.scalarization import STCH
    >>> STCH(0.01, torch.tensor([1.0, 2.0]))(torch.tensor([3.0, 1.0]))
    tensor(3.)
    """

    traits = Traits(permutation=True, cost="m", on_device=True, compiles=True)
    mu = Number("How smooth; the smaller, the closer to the largest.", above=0.0)
    weights = PerValue[Tensor | None](
        "How much each value counts; None for 1/m each.", optional=True, preference=True
    )
    reference = PerValue[Tensor | None]("The ideal point; None for the origin.", optional=True)

    def __init__(
        self, mu: float, weights: Tensor | None = None, reference: Tensor | None = None
    ) -> None:
        super().__init__()
        self.mu, self.weights, self.reference = mu, weights, reference

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        x, mu = widened(values), self.mu
        if (reference := self.reference) is not None:
            x = x - matched(reference, "reference", x)
        if (weights := self.weights) is None:
            x = x / (mu * x.numel())
        else:
            x = x * (matched(weights, "weights", x) / mu)
        smooth = torch.logsumexp(x.flatten(), dim=0)
        return torch.add(nan_unless_finite(x), smooth, alpha=mu).to(values.dtype)
