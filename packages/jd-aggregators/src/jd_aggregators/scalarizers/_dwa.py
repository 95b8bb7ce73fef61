"""DWA: objectives that fall slowly count more."""

from math import isfinite

import torch
from torch import Tensor

from jd_aggregators._remembering import Remembering
from jd_aggregators._settings import Configured, Number
from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._values import dot, readable, widened


class DWA(Remembering, Configured, Scalarizer):
    r"""Dynamic weight average: objectives that fell slowly over the last epochs count more.

    .. math:: \sum_i w_i \ell_i, \qquad w = m \operatorname{softmax}(r / T), \qquad
        r_i = \frac{L_i(t-1)}{L_i(t-2)}

    with :math:`m` the number of values and :math:`L_i(t)` the mean of the i-th value over the calls
    of epoch :math:`t`. Call :meth:`step` at the end of each epoch. Until two epochs are complete,
    all weights are 1. The weights have no gradient.

    A call whose result is not finite is left out of the mean, and an epoch without others changes
    nothing. Where :math:`L_i(t-2) = 0`, there is no rate: :math:`r_i = 1`, as of a value that has
    not changed. Sums, means and the number of calls are part of the ``state_dict``: training
    resumes in the middle of an epoch as if it had not stopped.

    Source: Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR 2019.

    :param temperature: The temperature :math:`T > 0`; the larger, the more equal the weights.
    :raises TypeError: If ``temperature`` is no number.
    :raises ValueError: If it is not positive; when called, if the shape of the values has changed
        since the last :meth:`reset`.

    >>> import torch
    >>> from torchjd.scalarization import DWA
    >>> dwa = DWA()
    >>> for losses in ([4.0, 4.0], [2.0, 4.0]):  # epochs of one batch
    ...     loss = dwa(torch.tensor(losses))
    ...     dwa.step()
    >>> loss
    tensor(6.)
    >>> dwa(torch.tensor([1.0, 4.0]))  # the second one has not fallen: it counts more
    tensor(5.3731)
    """

    traits = Traits(permutation=True, state="3 m", cost="m", on_device=True, compiles=True)
    remembers = ("_sums", "_count", "_last", "_before_last")
    temperature = Number("The larger, the more equal the weights.", above=0.0)

    _sums: Tensor | None
    _count: Tensor | None
    _last: Tensor | None
    _before_last: Tensor | None
    _known: tuple[Tensor, tuple[float, torch.dtype, torch.device, bool], Tensor] | None
    """The weights computed last, with the means and the settings that they are for."""

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = temperature
        self._known = None

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``, and count the values in."""
        self._require_same_shape(values)
        x = widened(values)
        weights = self._weights(x)
        loss = x.sum() if weights is None else dot(weights, x)
        self._count_in(x.detach(), loss.detach())
        return loss.to(values.dtype)

    def step(self) -> None:
        """End the epoch: its means become the last ones."""
        # Once an epoch, the host may look.
        if self._sums is None or self._count is None or not int(self._count):
            return
        self._before_last, self._last = self._last, self._sums / self._count
        self._sums = self._count = None

    def _weights(self, x: Tensor) -> Tensor | None:
        """Return the weights, in the dtype and on the device of ``x``; None for ones."""
        last, before_last = self._buffers["_last"], self._buffers["_before_last"]
        if last is None or before_last is None:
            return None
        if torch.compiler.is_compiling():
            return self._computed_weights(last, before_last, x)
        # They are the same for all calls of an epoch. A load, a move or a step makes new buffers,
        # so that what was computed from others is never taken for theirs; and what was computed
        # in inference mode cannot be saved for a backward pass.
        key = (self.temperature, x.dtype, x.device, torch.is_inference_mode_enabled())
        known = self._known
        if known is None or known[0] is not last or known[1] != key:
            known = (last, key, self._computed_weights(last, before_last, x))
            self._known = known
        return known[2]

    def _computed_weights(self, last: Tensor, before_last: Tensor, x: Tensor) -> Tensor:
        rates = torch.where(before_last == 0, 1.0, last / before_last)
        weights = x.numel() * (rates / self.temperature).flatten().softmax(dim=0)
        return weights.to(x.device, x.dtype, non_blocking=True)

    def _count_in(self, x: Tensor, loss: Tensor) -> None:
        sums, count = self._buffers["_sums"], self._buffers["_count"]
        if sums is None or count is None:
            # An epoch has many batches: in float32, their sum would lose what it gains.
            wide = torch.float32 if x.device.type == "mps" else torch.float64
            sums = torch.zeros(x.shape, dtype=wide, device=x.device)
            count = torch.zeros((), dtype=torch.int64, device=x.device)
        if not readable(loss):
            sound = torch.isfinite(loss)
            sums, count = torch.where(sound, sums + x, sums), count + sound
        elif isfinite(loss.item()):
            sums, count = sums + x, count + 1
        # Not by attribute: `nn.Module` takes longer to assign a buffer than to compute it.
        self._buffers["_sums"], self._buffers["_count"] = sums, count

    def _require_same_shape(self, values: Tensor) -> None:
        buffers = self._buffers
        known = buffers["_last"] if buffers["_sums"] is None else buffers["_sums"]
        if known is not None and known.shape != values.shape:
            raise ValueError(
                f"`values` must have the shape of the earlier ones, {list(known.shape)}. Got shape "
                f"{list(values.shape)}. Call `reset()` first, or use a DWA for each set of them."
            )
