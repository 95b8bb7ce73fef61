"""The rule of convolutions."""

from collections.abc import Mapping

from torch import Tensor

from torchjd.autogram._layout import Layout
from torchjd.autogram._uses._patches import Convolution, Patches
from torchjd.autogram._uses._rows import Rows
from torchjd.autogram._uses._use import Use

from ._call import Call

_WEIGHT, _BIAS = 1, 2


def convolution(call: Call) -> Mapping[int, Use] | None:
    """Return the uses of the weight and of the bias of a convolution, transposed or not."""
    layout = call.layout
    if layout is None or layout.dim != 0 or set(call.wanted) - {_WEIGHT, _BIAS}:
        return None
    cotangents = call.cotangent()
    if cotangents.is_complex() or not layout.fits(cotangents, call.batch, lead=1):
        return None
    cotangents = _by_image(cotangents, layout, call.batch, lead=1)
    uses: dict[int, Use] = {}
    if _BIAS in call.wanted:
        uses[_BIAS] = Rows(cotangents.flatten(4).sum((2, 4)))
    if _WEIGHT in call.wanted:
        shape = call.wanted[_WEIGHT]
        inputs = _by_image(call.saved("input").to(call.dtype), layout, call.batch)
        uses[_WEIGHT] = Patches(inputs, cotangents, shape, _settings(call, len(shape) - 2))
    return uses


def _by_image(tensor: Tensor, layout: Layout, batch: int, lead: int = 0) -> Tensor:
    """Return a view of shape ``[batch, images, channels, *sizes]``, behind the leading ones."""
    front = layout.front(tensor, batch, lead)
    return front if front.ndim > tensor.ndim else front.unsqueeze(lead + 1)


def _settings(call: Call, dims: int) -> Convolution:
    def each(name: str) -> tuple[int, ...]:
        numbers = tuple(call.saved(name))
        return numbers * dims if len(numbers) == 1 else numbers  # one for all dimensions

    return Convolution(
        each("stride"),
        each("padding"),
        each("dilation"),
        bool(call.saved("transposed")),
        each("output_padding"),
        int(call.saved("groups")),
    )
