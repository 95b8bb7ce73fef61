"""Gradients that are scaled: what is new is multiplied by the scale before it is added."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ._finite import is_writable
from ._unscaled_jacobians import Scales, masked


class ScaledGrads:
    """The ``.grad`` of parameters, set aside while new ones are computed.

    :param params: Whose.
    """

    def __init__(self, params: Sequence[Tensor]) -> None:
        self._params = params
        self._before = [param.grad for param in params]

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Let each ``.grad`` be None; after an exception, they are as they were."""
        for param in self._params:
            param.grad = None
        try:
            yield
        except BaseException:
            self._put_back()
            raise

    @torch.no_grad()
    def add(self, scales: Scales, finite: Tensor | None) -> None:
        """Multiply each new ``.grad`` by its scale, and add it to the one that was set aside.

        :param scales: By what they are multiplied.
        :param finite: If it is False, they become NaN instead. None for True.
        """
        totals = []
        for param, before in zip(self._params, self._before, strict=True):
            total = param.grad
            assert total is not None, "aggregation gives every parameter a gradient"
            factor = masked(scales[param.device], finite, param.device)
            if factor is not None:
                total.mul_(factor)
            totals.append(total if before is None else total.add_(before))
        for param, before, total in zip(self._params, self._before, totals, strict=True):
            _assign(param, before, total)

    def _put_back(self) -> None:
        for param, before in zip(self._params, self._before, strict=True):
            param.grad = before


@torch.no_grad()
def fill_with_nan(params: Sequence[Tensor]) -> None:
    """Make each ``.grad`` NaN all over."""
    for param in params:
        before = param.grad
        if before is not None and is_writable(before):
            before.fill_(torch.nan)
        else:
            param.grad = torch.full_like(param, torch.nan)


def _assign(param: Tensor, before: Tensor | None, total: Tensor) -> None:
    # Others may hold the tensor that there was, as a fused optimizer's buckets do.
    if before is not None and is_writable(before):
        param.grad = before.copy_(total)
    else:
        param.grad = total
