"""Rows that are scaled within the backward pass, for what half precision holds on the way."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchjd.linalg._widening import wide_dtype


class RowScaling:
    """A scale for each row: its cotangent goes in multiplied by it, and it comes out divided.

    :param scales: Positive, of shape ``[m]``.
    """

    def __init__(self, scales: Tensor) -> None:
        self.scales = scales.detach()
        # In full, whatever the dtype of the scales: a row is as exact as its own dtype.
        self._inverses = self.scales.to(wide_dtype(scales.device)).reciprocal()
        self._of_kind: dict[tuple[torch.device, torch.dtype], _Factors] = {}

    def seed(self, output: Tensor, r: int) -> Tensor:
        """Return the scale of row ``r``, as a cotangent of an ``output`` of one element."""
        return self.scales[r].to(output).reshape(output.shape)

    def scale(self, cotangents: Tensor, start: int = 0) -> Tensor:
        """Return cotangents of the rows from ``start`` on, of shape ``[rows, ...]``, scaled."""
        rows = self.scales[start : start + len(cotangents)].to(cotangents)
        return cotangents * _column(rows, cotangents.ndim)

    def write(self, target: Tensor, grad: Tensor, rows: int | slice) -> None:
        """Write what came out for one row, or for several, into ``target``, divided."""
        factors = self._inverses_for(target)
        if isinstance(rows, int):
            torch.mul(grad, factors.each[rows], out=target)
        else:
            torch.mul(grad, _column(factors.all[rows], grad.ndim), out=target)

    def divide(self, grad: Tensor, r: int) -> Tensor:
        """Return what came out for row ``r``, dense or sparse, divided."""
        return grad * self._inverses_for(grad).each[r]

    def _inverses_for(self, tensor: Tensor) -> "_Factors":
        """Return what rows are multiplied by, where ``tensor`` is, and as exact as it needs."""
        kind = tensor.device, torch.promote_types(tensor.dtype, torch.float32)
        found = self._of_kind.get(kind)
        if found is None:
            inverses = self._inverses.to(*kind)
            found = self._of_kind[kind] = _Factors(inverses, inverses.unbind())
        return found


class _Factors(NamedTuple):
    """Factors of all rows, and of each: taking one out takes as long as a small product."""

    all: Tensor
    each: Sequence[Tensor]


@torch.no_grad()
def finite_rows(jacobians: Sequence[Tensor]) -> Tensor:
    """Return whether each row is finite, of shape ``[m]``, on the device of the first Jacobian.

    :param jacobians: Tensors of shape ``[m, *tensor.shape]``, at least one.
    """
    device = jacobians[0].device
    finite = torch.ones(len(jacobians[0]), dtype=torch.bool, device=device)
    for jacobian in jacobians:
        if jacobian.numel() > 0:
            finite &= _are_finite(jacobian.reshape(len(jacobian), -1)).to(device)
    return finite


def _are_finite(rows: Tensor) -> Tensor:
    """Return whether each of ``rows``, of shape ``[m, n]``, is finite."""
    if rows.device.type == "cpu":
        # One pass in place of two, where a look at the result is free. A sum is finite only if all
        # of its terms are; otherwise it may have overflowed.
        sums = rows.sum(dim=1).isfinite()
        if sums.all():
            return sums
    # Both extremes are NaN where any entry is: 20 times faster than `isfinite` or a norm.
    return rows.amax(dim=1).isfinite() & rows.amin(dim=1).isfinite()


def as_row_scales(value: object, m: int, name: str, inputs: Sequence[Tensor]) -> RowScaling:
    """Return the scaling by ``value``, of m rows with respect to ``inputs``.

    :param name: The user's name for ``inputs``.
    :raises TypeError: If it is no floating-point tensor; or an input is of float16, in which a row
        that is no longer scaled would lose what scaling had saved.
    :raises ValueError: If it does not have one element a row; or, where that can be seen without
        waiting for a device, one that is not positive and finite.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        found = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"`row_scales` must be a floating-point tensor. Got {found}.")
    if value.shape != (m,):
        raise ValueError(
            f"`row_scales` must have one element for each of the {m} rows. "
            f"Got shape {list(value.shape)}."
        )
    if value.device.type == "cpu" and not (value.isfinite() & (value > 0)).all():
        raise ValueError(f"`row_scales` must be positive and finite. Got {value.tolist()}.")
    for i, tensor in enumerate(inputs):
        if tensor.dtype == torch.float16:
            raise TypeError(
                f"`{name}` must not be of float16 where `row_scales` are given: their rows would "
                f"underflow once they are divided. Got {name}[{i}], of shape "
                f"{list(tensor.shape)}. Keep parameters in float32, under `torch.autocast`."
            )
    return RowScaling(value)


def _column(rows: Tensor, ndim: int) -> Tensor:
    return rows.view(-1, *[1] * (ndim - 1))
