"""Weights from the Gramian of losses that are scaled, as if they were not."""

from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

from torchjd.aggregation import Weighting, WrappingWeighting

from ._finite import all_finite, is_on_host
from ._scale import check_scaler, scale_on


class UnscaledWeighting(WrappingWeighting):
    r"""Weigh losses that a gradient scaler scales as if it did not.

    With :math:`S` the scale, the Gramian engine computes :math:`S^2 G` from scaled losses. The
    wrapped weighting is given the true Gramian :math:`G`, and the true values of the losses if it
    needs them. Its weights go to the scaled losses, so that ``.grad`` is scaled once, as
    ``scaler.step`` expects. Where one of these inputs is not finite, the weights are NaN, and the
    step is skipped: on the CPU the weighting is not called then; on other devices it is called on
    NaN, and nothing is read on the host.

    What only reads how many losses there are is called as it is. A cross Gramian, which the user
    computes, is taken to be the true one.

    :param weighting: A weighting that works from a Gramian, generalized or not.
    :param scaler: A ``torch.amp.GradScaler``, which scales the losses.
    :raises TypeError: If ``weighting`` is none, or reads the whole Jacobian; or ``scaler`` is none.

    >>> import torch, jd_amp
    >>> from torchjd.aggregation import UPGradWeighting
    >>> from torchjd.autogram import Engine
    >>> model = torch.nn.Linear(3, 1)
    >>> scaler = torch.amp.GradScaler("cpu")
    >>> weighting = jd_amp.UnscaledWeighting(UPGradWeighting(), scaler)
    >>> losses = (model(torch.ones(4, 3)) - torch.arange(4.0)[:, None]).square().sum(dim=1)
    >>> Engine(model).backward(scaler.scale(losses), weighting).shape
    torch.Size([4])
    """

    def __init__(self, weighting: Weighting[Any], scaler: GradScaler) -> None:
        if not isinstance(weighting, Weighting) or weighting.needs == "jacobian":
            is_class = isinstance(weighting, type)
            found = f"the class {weighting.__name__}" if is_class else type(weighting).__name__
            raise TypeError(
                f"`weighting` must be a weighting that works from a Gramian. Got {found}. "
                "Pass an instance, for instance `UPGradWeighting()`; what reads the whole Jacobian "
                "belongs in an aggregator, and that in `jd_amp.jac_to_grad`."
            )
        check_scaler(scaler, optional=False)
        super().__init__(weighting)
        self.scaler = scaler

    def forward(self, stat: Tensor, /, *, losses: Tensor | None = None) -> Tensor:
        """Return the weights; of NaN where what they are computed from is not finite."""
        reads_gramian = self.needs == "gramian"
        scale = scale_on(self.scaler, stat.device)
        if scale is not None and reads_gramian:
            # Twice: the square of a large scale is beyond the range of float32.
            stat = stat / scale / scale
        if losses is not None:
            losses = losses.to(stat.device)
            losses = losses if scale is None else losses / scale
        read = [*([stat] if reads_gramian else []), *([] if losses is None else [losses])]
        finite = all_finite(read, stat.device)
        if is_on_host([stat]):
            return self.weighting(stat, losses=losses) if finite else _nan_weights(stat)
        if reads_gramian:
            stat = torch.where(finite, stat, torch.nan)
        if losses is not None:
            losses = torch.where(finite, losses, torch.nan)
        return torch.where(finite, self.weighting(stat, losses=losses), torch.nan)

    def extra_repr(self) -> str:
        """Return the class of the scaler."""
        return f"scaler={type(self.scaler).__name__}"


def _nan_weights(stat: Tensor) -> Tensor:
    shape = stat.shape[: stat.ndim // 2]
    return stat.new_full(shape, torch.nan, dtype=torch.promote_types(stat.dtype, torch.float32))
