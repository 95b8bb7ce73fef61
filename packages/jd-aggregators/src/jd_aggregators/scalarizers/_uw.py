"""UW: weights from uncertainties that are learned along with the model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._settings import Sized
from ._values import widened


class UW(Sized, Scalarizer):
    r"""The objectives weighted by learned uncertainties (uncertainty weighting).

    .. math:: \frac12 \sum_i \left( e^{-s_i} \ell_i + s_i \right)

    The log-variances :math:`s_i`, one per value, begin at 0 and are learned: ``log_var`` is a
    parameter of this module, to be given to the optimizer beside those of the model. For positive
    values they tend to :math:`\log \ell_i`.

    Source: Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
    Geometry and Semantics", CVPR 2018, section 3.2, with :math:`s_i = \log \sigma_i^2`.

    :param shape: The shape of the values; an int is the length of a vector.
    :raises TypeError: If ``shape`` is no int and no sequence of ints.
    :raises ValueError: If a length is below 1; when called, if the values have another shape.

    >>> import torch
    >>> from torchjd.scalarization import UW
    >>> uw = UW(2)
    >>> optimizer = torch.optim.SGD(uw.parameters(), lr=1.0)
    >>> loss = uw(torch.tensor([1.0, 3.0]))
    >>> loss
    tensor(2., grad_fn=<MulBackward0>)
    >>> loss.backward()
    >>> optimizer.step()
    >>> uw.log_var.tolist()
    [0.0, 1.0]
    """

    traits = Traits(permutation=True, state="m", cost="m", on_device=True, compiles=True)

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__(shape)
        self.log_var = nn.Parameter(torch.zeros(self.shape))

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        self._require_shape(values)
        log_var = self.log_var.to(values.device)
        terms = torch.addcmul(log_var, log_var.neg().exp(), widened(values))
        return (0.5 * terms.sum()).to(values.dtype)

    def reset(self) -> None:
        """Set the log-variances to 0 again; an optimizer's own memory of them is not touched."""
        with torch.no_grad():
            self.log_var.zero_()
        self.log_var.grad = None
