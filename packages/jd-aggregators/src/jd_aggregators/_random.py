"""Random: other weights at every step."""

import torch
from torch import Tensor

from torchjd.aggregation import Traits, WeightedAggregator
from torchjd.linalg import Matrix

from ._drawing import Drawing
from ._fixed import RowCountWeighting, weight_dtype
from ._settings import OfWeighting


class RandomWeighting(Drawing, RowCountWeighting):
    r"""Give positive random weights that sum to 1.

    .. math:: w = \operatorname{softmax}(x), \qquad x \sim \mathcal{N}(0, I_m)

    The global random state is not used: without a ``generator``, the object seeds one of its own
    from the system. Source: Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus
    Test for Multi-Task Learning", TMLR 2022, section 3.

    :param generator: A generator on the CPU, for results that can be repeated.
    :raises TypeError: If ``generator`` is no generator.
    :raises ValueError: If it is on another device.

    >>> import torch
    >>> from torchjd.aggregation import RandomWeighting
    >>> weights = RandomWeighting(torch.Generator().manual_seed(0))(torch.eye(3))
    >>> weights.shape, bool(weights.min() > 0), round(float(weights.sum()), 5)
    (torch.Size([3]), True, 1.0)
    """

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``."""
        weights = self.normal(matrix.shape[0]).softmax(dim=0)
        return weights.to(matrix.device, weight_dtype(matrix), non_blocking=True)


class Random(WeightedAggregator):
    r"""The sum of the rows with positive random weights, which sum to 1.

    .. math:: \mathcal{A}(J) = \sum_i w_i g_i, \qquad w = \operatorname{softmax}(x), \quad
        x \sim \mathcal{N}(0, I_m)

    Source: Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning", TMLR 2022, section 3.

    :param generator: A generator on the CPU, for results that can be repeated. Default: one that
        is seeded from the system.
    :raises TypeError: If ``generator`` is no generator.
    :raises ValueError: If it is on another device.

    >>> import torch
    >>> from torchjd.aggregation import Random
    >>> Random(torch.Generator().manual_seed(0))(torch.ones(3, 2))
    tensor([1., 1.])
    """

    traits = Traits(random=True, cost="m n", on_device=True)
    generator = OfWeighting(RandomWeighting.generator)

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__(RandomWeighting(generator))
