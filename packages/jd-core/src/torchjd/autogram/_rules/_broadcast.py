"""Elementwise operations: the parameter is broadcast against a tensor that holds the samples."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from torchjd.autogram._layout import Layout
from torchjd.autogram._uses._rows import Rows
from torchjd.autogram._uses._use import Use

from ._call import Call

Factor = Tensor | float
"""By what a cotangent is multiplied; where it is boolean, by what it is masked."""

# Above this many elements of a task, the tasks are multiplied one after the other.
_APART = 1 << 16


def contracted(call: Call, shape: torch.Size, B: Tensor, factor: Factor) -> Rows | None:
    r"""Return the gradients with respect to what was broadcast, of an elementwise operation.

    :param shape: The shape of the parameter.
    :param B: The cotangents of the output.
    :param factor: The derivative of the output by the parameter, as it was broadcast.
    """
    if not isinstance(factor, Tensor):
        use = summed(call, shape, B)
        return use if use is None or factor == 1 else Rows(use.by_sample() * factor)
    if call.tasks == 1 or B[0].numel() <= _APART:
        return summed(call, shape, _times(B, factor))
    product = B.new_empty(B.shape[1:])
    J = B.new_empty(call.tasks, call.batch, *shape)
    for k in range(call.tasks):
        use = summed(call, shape, _times(B[k], factor, out=product)[None])
        if use is None:
            return None
        J[k] = use.rows()
    return Rows(J)


def summed(
    call: Call, shape: torch.Size, cotangents: Tensor, layout: Layout | None = None
) -> Rows | None:
    r"""Return the gradients with respect to what was broadcast to a tensor.

    Where the parameter has one element for each sample, the gradient of a loss is zero but for the
    elements of its own sample.

    :param shape: The shape of the parameter.
    :param cotangents: Those of the tensor, of shape ``[tasks, *tensor.shape]``.
    :param layout: Where the samples sit in the tensor; None for the layout of the output.
    """
    layout = layout or call.layout
    if layout is None:
        return None
    tasks, size = cotangents.shape[0], cotangents.ndim - 1
    padded = (1,) * (size - len(shape)) + tuple(shape)
    front = _kept_front(layout, cotangents, call.batch, lead=1)
    dims = [i + 2 for i in range(size) if padded[i] == 1 and front.shape[i + 2] > 1]
    J = front.sum(dims, keepdim=True) if dims else front
    if call.batch > 1 and padded[layout.dim] > 1:
        apart = J.new_zeros(tasks, call.batch, *padded)
        inside = _kept_front(layout, apart, call.batch, lead=2)
        inside.diagonal(dim1=1, dim2=2).copy_(J.movedim(1, -1))
        J = apart
    return Rows(J.reshape(tasks, call.batch, *shape))


def repeat(call: Call) -> Mapping[int, Use] | None:
    """Return the use of what was repeated, as instance norm does with its weight."""
    layout = call.layout
    if layout is None or set(call.wanted) != {0}:
        return None
    shape, repeats = call.wanted[0], call.saved("repeats")
    padded = (1,) * (len(repeats) - len(shape)) + tuple(shape)
    # In the dimension of the samples, a whole number of copies must belong to each sample.
    copies, left = divmod(repeats[layout.dim], call.batch)
    if left or (layout.inner and padded[layout.dim] > 1 and call.batch > 1):
        return None
    counts = [copies if i == layout.dim else n for i, n in enumerate(repeats)]
    split = [n for pair in zip(counts, padded, strict=True) for n in pair]
    front = _kept_front(layout, call.cotangent(), call.batch, lead=1)
    J = front.reshape(call.tasks, call.batch, *split).sum([2 + 2 * i for i in range(len(repeats))])
    return {0: Rows(J.reshape(call.tasks, call.batch, *shape))}


def _kept_front(layout: Layout, tensor: Tensor, batch: int, lead: int) -> Tensor:
    """Put the samples in front, and keep a dimension where they were."""
    front = layout.front(tensor, batch, lead)
    if tensor.shape[layout.dim + lead] == batch:
        return front.unsqueeze(layout.dim + lead + 1)
    return front


def _times(B: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    if factor.dtype == torch.bool:
        # A product would make NaN of what is infinite and is not selected.
        return torch.where(factor, B, 0.0)
    return torch.mul(B, factor, out=out)


Saved = Callable[[str], Any]
"""What a node saved, by name: each is read once, since to read it may be to compute it anew."""


def _reader(call: Call) -> Saved:
    @cache
    def read(name: str) -> Any:
        value = call.saved(name)
        # What is boolean selects, and is kept so.
        if not isinstance(value, Tensor) or value.dtype == torch.bool:
            return value
        return value.to(call.dtype)

    return read


def _rule(
    name: str, *factors: Callable[[Saved], Factor]
) -> Callable[[Call], Mapping[int, Use] | None]:
    """Return the rule of an operation, given its derivative by each of its inputs."""

    def rule(call: Call) -> Mapping[int, Use] | None:
        if call.layout is None:
            return None
        B, saved = call.cotangent(), _reader(call)
        uses: dict[int, Use] = {}
        for index, shape in call.wanted.items():
            use = contracted(call, shape, B, factors[index](saved))
            if use is None:
                return None
            uses[index] = use
        return uses

    rule.__name__ = rule.__qualname__ = name
    return rule


def _one(_saved: Saved) -> Factor:
    return 1.0


def _base(saved: Saved) -> Factor:
    x, exponent = saved("self"), saved("exponent")
    # x ** 0 is constant, also at x = 0, where the formula would give 0 * inf.
    return torch.where(exponent == 0, 0.0, exponent * x.pow(exponent - 1))


def _exponent(saved: Saved) -> Factor:
    x, exponent = saved("self"), saved("exponent")
    # 0 ** e is constant for e >= 0, where the formula would give 0 * -inf.
    constant = (x == 0) & (exponent >= 0)
    return torch.where(constant, 0.0, saved("result") * x.log())


add = _rule("add", _one, lambda saved: saved("alpha"))
sub = _rule("sub", _one, lambda saved: -saved("alpha"))
rsub = _rule("rsub", lambda saved: -saved("alpha"), _one)
mul = _rule("mul", lambda saved: saved("other"), lambda saved: saved("self"))
div = _rule(
    "div",
    lambda saved: saved("other").reciprocal(),
    # In this order, the square of a large denominator does not overflow.
    lambda saved: -saved("self") / saved("other") / saved("other"),
)
power = _rule("power", _base, _exponent)
addcmul = _rule(
    "addcmul",
    _one,
    lambda saved: saved("tensor2") * saved("value"),
    lambda saved: saved("tensor1") * saved("value"),
)
where = _rule(
    "where", lambda saved: saved("condition").bool(), lambda saved: saved("condition").logical_not()
)
lerp = _rule(
    "lerp",
    lambda saved: 1 - saved("weight"),
    lambda saved: saved("weight"),
    lambda saved: saved("end") - saved("self"),
)
prelu = _rule("prelu", _one, lambda saved: saved("self").clamp(max=0))
expand = _rule("expand", _one)
