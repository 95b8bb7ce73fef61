r"""Normalisations: the parameters scale and shift what was normalised.

Where the output is :math:`\gamma \hat{x} + \beta`, the gradients of a loss are the sums of
:math:`B \hat{x}` and of :math:`B`, over what shares an element of the parameter. They are linear in
the cotangent :math:`B` given the statistics that were saved, also where these couple the samples.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from torchjd.autogram._layout import Layout
from torchjd.autogram._uses._use import Use

from ._broadcast import contracted, summed
from ._call import Call


def layer_norm(call: Call) -> Mapping[int, Use] | None:
    """Return the uses of the weight and of the bias of a layer norm."""
    B = call.cotangent()
    if not _normalizes_within_samples(call, B):
        return None
    normalized: Tensor | None = None
    if 1 in call.wanted:
        mean, rstd = _read(call, "result1"), _read(call, "result2")
        normalized = (_read(call, "input") - mean).mul_(rstd)
    return _scale_and_shift(call, B, normalized)


def rms_norm(call: Call) -> Mapping[int, Use] | None:
    """Return the use of the weight of a fused RMS norm."""
    B = call.cotangent()
    if not _normalizes_within_samples(call, B):
        return None
    return _scale_and_shift(call, B, _read(call, "input") * _read(call, "result1"))


def batch_norm(call: Call) -> Mapping[int, Use] | None:
    """Return the uses of the weight and of the bias of a batch norm, in training or not."""
    if call.layout is None or 0 in call.wanted:
        return None
    # The running statistics may have changed since a forward in training, which does not use them.
    if call.saved("training"):
        mean, rstd = _read(call, "result1"), _read(call, "result2")
    else:
        eps = call.saved("eps" if call.has("eps") else "epsilon")
        mean = _read(call, "running_mean")
        rstd = (_read(call, "running_var") + eps).rsqrt_()
    B, x = call.cotangent(), _read(call, "input")
    if x.ndim == 2:
        return _scale_and_shift(call, B, (x - mean).mul_(rstd))
    samples = x.shape[0]
    return _of_channels(call, B, x, mean.repeat(samples), rstd.repeat(samples))


def group_norm(call: Call) -> Mapping[int, Use] | None:
    """Return the uses of the weight and of the bias of a group norm."""
    channels = call.saved("C") // call.saved("group")
    mean, rstd = (_read(call, name).reshape(-1) for name in ("result1", "result2"))
    mean, rstd = mean.repeat_interleave(channels), rstd.repeat_interleave(channels)
    return _of_channels(call, call.cotangent(), _read(call, "input"), mean, rstd)


def _normalizes_within_samples(call: Call, B: Tensor) -> bool:
    """Whether the samples sit in a dimension that the parameters do not have."""
    layout = call.layout
    if layout is None or 0 in call.wanted:
        return False
    kept = B.ndim - 1 - len(call.saved("normalized_shape"))
    return call.batch == 1 or layout.dim < kept


def _scale_and_shift(call: Call, B: Tensor, normalized: Tensor | None) -> Mapping[int, Use] | None:
    """Return the uses of input 1, which multiplied ``normalized``, and of input 2."""
    uses: dict[int, Use] = {}
    for index, shape in call.wanted.items():
        if index != 1 or normalized is None:
            use = summed(call, shape, B)
        elif call.tasks == 1:
            # In place: at this size, a temporary costs as much as the arithmetic.
            use = summed(call, shape, normalized.mul_(B[0])[None])
        else:
            use = contracted(call, shape, B, normalized)
        if use is None:
            return None
        uses[index] = use
    return uses


def _of_channels(
    call: Call, B: Tensor, x: Tensor, mean: Tensor, rstd: Tensor
) -> Mapping[int, Use] | None:
    """Return the uses of parameters that have one element a channel, in dimension 1.

    :param B: The cotangents of the output.
    :param x: What was normalised.
    :param mean: The mean of each channel of each sample, in a row.
    :param rstd: The inverse of the standard deviation of each.
    """
    layout = call.layout
    if layout is None or 0 in call.wanted or (layout.dim != 0 and call.batch > 1):
        return None
    channels, wanted = B.shape[1:3], [False, 1 in call.wanted, 2 in call.wanted]
    flat = (1, channels.numel(), -1)
    x = x.reshape(flat)
    # As in the backward of a batch norm in which each channel of each sample counts as a channel:
    # one pass over the input and the cotangent, without a temporary.
    outputs = [
        torch.ops.aten.native_batch_norm_backward(
            B_k.reshape(flat), x, None, None, None, mean, rstd, True, 0.0, wanted
        )
        for B_k in B
    ]
    uses: dict[int, Use] = {}
    for index, shape in call.wanted.items():
        J = torch.stack([output[index].view(channels) for output in outputs])
        use = summed(call, shape, J, Layout(0, layout.inner))
        if use is None:
            return None
        uses[index] = use
    return uses


def _read(call: Call, name: str) -> Tensor:
    tensor: Tensor = call.saved(name)
    return tensor.to(call.dtype)
