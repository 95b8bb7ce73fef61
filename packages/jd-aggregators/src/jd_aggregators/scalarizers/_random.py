"""Random: other weights at every step."""

import torch
from torch import Tensor

from jd_aggregators._drawing import Drawing
from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._values import dot, widened


class Random(Drawing, Scalarizer):
    r"""The sum of the objectives with positive random weights, which sum to 1.

    .. math:: \sum_i w_i \ell_i, \qquad w = \operatorname{softmax}(x), \quad
        x \sim \mathcal{N}(0, I_m)

    with :math:`m` the number of values. The global random state is not used: without a
    ``generator``, the object seeds one of its own from the system.

    Source: Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning", TMLR 2022, section 3.

    :param generator: A generator on the CPU, for results that can be repeated. Its state is part
        of the ``state_dict``.
    :raises TypeError: If ``generator`` is no generator.
    :raises ValueError: If it is on another device.

    >>> import torch
    >>> from torchjd.scalarization import Random
    >>> loss = Random(generator=torch.Generator().manual_seed(0))(torch.tensor([1.0, 3.0]))
    >>> 1.0 < float(loss) < 3.0
    True
    """

    traits = Traits(random=True, cost="m", on_device=True)

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__(generator)

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        x = widened(values)
        draws = self.normal(x.numel()).to(x.device, x.dtype, non_blocking=True)
        weights = draws.softmax(dim=0)
        return dot(weights, x).to(values.dtype)
