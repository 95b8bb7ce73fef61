"""IMTLL: scales that are learned along with the model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._settings import Sized
from ._values import widened


class IMTLL(Sized, Scalarizer):
    r"""The objectives, each brought to the same size by a learned scale (loss-balanced IMTL).

    .. math:: \sum_i \left( e^{s_i} \ell_i - s_i \right)

    The logarithms :math:`s_i` of the scales, one per value, begin at 0 and are learned:
    ``log_scale`` is a parameter of this module, to be given to the optimizer beside those of the
    model. For positive values, :math:`e^{s_i} \ell_i` tends to 1. It is twice :class:`UW` with
    the sign of :math:`s_i` changed.

    Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, section 3.2.

    :param shape: The shape of the values; an int is the length of a vector.
    :raises TypeError: If ``shape`` is no int and no sequence of ints.
    :raises ValueError: If a length is below 1; when called, if the values have another shape.

    >>> import torch
    >>> from torchjd.scalarization import IMTLL
    >>> imtll = IMTLL(2)
    >>> optimizer = torch.optim.SGD(imtll.parameters(), lr=1.0)
    >>> loss = imtll(torch.tensor([1.0, 3.0]))
    >>> loss
    tensor(4., grad_fn=<SumBackward0>)
    >>> loss.backward()
    >>> optimizer.step()
    >>> imtll.log_scale.tolist()
    [0.0, -2.0]
    """

    traits = Traits(permutation=True, state="m", cost="m", on_device=True, compiles=True)

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__(shape)
        self.log_scale = nn.Parameter(torch.zeros(self.shape))

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``."""
        self._require_shape(values)
        log_scale = self.log_scale.to(values.device)
        return (log_scale.exp() * widened(values) - log_scale).sum().to(values.dtype)

    def reset(self) -> None:
        """Set the scales to 1 again; an optimizer's own memory of them is not touched."""
        with torch.no_grad():
            self.log_scale.zero_()
        self.log_scale.grad = None
