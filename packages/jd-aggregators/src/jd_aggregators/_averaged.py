"""A Gramian averaged over the steps, for any weighting that works from one."""

from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import Traits, Weighting

from ._precision import widened
from ._settings import Number
from ._wrapping import RememberingWrapper


class AveragedWeighting(RememberingWrapper):
    r"""Average the Gramian over the steps before another weighting sees it.

    .. math:: M_k = \beta M_{k-1} + (1 - \beta) G_k, \quad M_0 = 0, \qquad
        w_k = \hat w \left( \frac{M_k}{1 - \beta^k} \right)

    with :math:`G_k = J_k J_k^\top`, of shape ``[m, m]``, the Gramian of call :math:`k`, and
    :math:`\hat w` the wrapped weighting. The Gramian of a minibatch is noisy, and a weighting that
    solves a problem for it follows the noise; the average of several takes most of it away. What
    the wrapped weighting guarantees, such as that no objective is harmed, then holds on average
    over the steps, and no more for each. The correction of the bias is that of Kingma and Ba,
    "Adam: A Method for Stochastic Optimization", ICLR 2015, section 3; the method is of this
    library.

    :param weighting: What computes the weights, from a Gramian.
    :param beta: How much of the past is kept, :math:`\beta`: 0 for nothing.
    :raises TypeError: If ``weighting`` is no weighting that works from a Gramian, or ``beta`` no
        number.
    :raises ValueError: If ``beta`` is not from 0 to less than 1; when called, if the number of
        objectives has changed.

    >>> import torch
    >>> from torchjd.aggregation import AveragedWeighting, UPGradWeighting
    >>> weighting = AveragedWeighting(UPGradWeighting(), beta=0.5)
    >>> weighting(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]))
    tensor([1.0000, 0.7500])
    >>> weighting(torch.tensor([[1.0, 0.5], [0.5, 2.0]]))  # the average has 0 for -1 and 0.5
    tensor([0.5000, 0.5000])
    """

    degree = None
    traits = Traits(
        state="m^2", cost="m^2 and that of the wrapped weighting", on_device=True, compiles=True
    )
    remembers = ("_gramian",)
    beta = Number("How much of the past is kept.", low=0.0, below=1.0)

    def __init__(self, weighting: Weighting[Any], beta: float = 0.9) -> None:
        super().__init__(weighting)
        if weighting.needs != "gramian":
            raise TypeError(
                "`weighting` must work from a Gramian, which is what is averaged. Got "
                f"{type(weighting).__name__}, which needs the {weighting.needs}."
            )
        self.beta = beta

    @property
    def needs(self) -> Any:
        """The Gramian, of every call."""
        return "gramian"

    def forward(self, gramian: Tensor, /, *, losses: Tensor | None = None) -> Tensor:
        """Return the weights, of the shape and dtype of those of the wrapped weighting."""
        new = widened(gramian)
        last = self.recall("_gramian", tuple(new.shape), new)
        calls = new.new_ones(()) if self._calls is None else self._calls.to(new) + 1
        # The corrected average itself is kept: that of one call is then its Gramian, exactly.
        share = (1.0 - self.beta) / (1.0 - self.beta**calls)
        average = torch.lerp(last, new, share)
        # In the dtype of the Gramian: the solvers judge by that how much of it is rounding.
        weights: Tensor = self.weighting(average.to(gramian.dtype, copy=True), losses=losses)
        self.remember(torch.isfinite(new).all(), _gramian=average)
        return weights
