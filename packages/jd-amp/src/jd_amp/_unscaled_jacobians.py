"""Jacobians that are not scaled for a while, in the memory that they have."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ._finite import is_writable, moved

Scales = Mapping[torch.device, Tensor | None]
"""On each device the scale, a scalar there; None where nothing is scaled."""


def jacobian_of(param: Tensor) -> Tensor:
    """Return ``param.jac``, which is a tensor."""
    jacobian: Tensor = param.jac  # type: ignore[attr-defined]
    return jacobian


@contextmanager
def unscaled(
    params: Sequence[Tensor], scales: Scales, finite: Tensor | None, *, keep: bool
) -> Iterator[None]:
    """Divide each ``.jac`` by its scale, until the block is left by an exception, or ``keep``.

    :param params: Tensors with a ``.jac``.
    :param scales: By what they are divided.
    :param finite: If it is False, they become NaN instead, and remain so. None for True.
    :param keep: Whether the scale is wanted back in any case.
    """
    replaced: list[tuple[Tensor, Tensor]] = []
    divided: dict[tuple[object, ...], tuple[Tensor, Tensor | None]] = {}
    again = True
    try:
        for param in params:
            jacobian, scale = jacobian_of(param), scales[param.device]
            divisor = masked(scale, finite, param.device)
            if divisor is None:
                continue
            if not is_writable(jacobian):
                param.jac = jacobian.detach() / divisor  # type: ignore[attr-defined]
                replaced.append((param, jacobian))
                continue
            # The same elements may, by mistake, be the Jacobians of two parameters.
            place = jacobian.untyped_storage(), jacobian.storage_offset(), jacobian.numel()
            if place not in divided:
                jacobian.div_(divisor)
                divided[place] = jacobian, scale
        yield
        again = keep
    finally:
        if again:
            for jacobian, scale in divided.values():
                if scale is not None:
                    jacobian.mul_(scale)
            for param, jacobian in replaced:
                param.jac = jacobian  # type: ignore[attr-defined]


def masked(scale: Tensor | None, finite: Tensor | None, device: torch.device) -> Tensor | None:
    """Return ``scale``, or NaN if ``finite`` is False; None for a scale of 1 that is not masked."""
    if finite is None:
        return scale
    return torch.where(moved(finite, device), 1.0 if scale is None else scale, torch.nan)
