"""Jacobians onto ``.jac``: checked, computed aside, then committed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchjd._autograd._gradients import Commit


def stored_jacobian(tensor: Tensor) -> Tensor | None:
    """Return ``tensor.jac``; None where there is none."""
    return getattr(tensor, "jac", None)


def check_jacobian_room(tensors: Sequence[Tensor], m: int, name: str) -> None:
    """Refuse to add ``m`` rows to a ``.jac`` that they do not fit.

    :param name: The user's name for ``tensors``.
    :raises TypeError: If a ``.jac`` is no tensor.
    :raises ValueError: If a ``.jac`` has another shape, dtype or device than the new rows.
    """
    for i, tensor in enumerate(tensors):
        stored = stored_jacobian(tensor)
        if stored is None:
            continue
        where = f"`{name}[{i}].jac`"
        if not isinstance(stored, Tensor):
            raise TypeError(f"{where} must be a tensor or None. Got {type(stored).__name__}.")
        shape = [m, *tensor.shape]
        if list(stored.shape) != shape:
            raise ValueError(
                f"{where} must have shape {shape}, to which the {m} new rows can be added. Got "
                f"{list(stored.shape)}. Clear it first, with `jac_to_grad` or `.jac = None`."
            )
        if stored.dtype != tensor.dtype or stored.device != tensor.device:
            raise ValueError(
                f"{where} must be of {tensor.dtype} on {tensor.device}, as its tensor. Got "
                f"{stored.dtype} on {stored.device}. Clear it first, with `.jac = None`."
            )


@torch.no_grad()
def add_to_jacobians(tensors: Sequence[Tensor], jacobians: Sequence[Tensor]) -> Commit:
    """Add to each ``.jac``, or set it.

    The sum is formed in ``jacobians``, which the caller owns: an old ``.jac`` is never written.
    """
    for tensor, jacobian in zip(tensors, jacobians, strict=True):
        stored = stored_jacobian(tensor)
        if stored is not None:
            jacobian.add_(stored)

    def commit() -> None:
        for tensor, jacobian in zip(tensors, jacobians, strict=True):
            tensor.jac = jacobian  # type: ignore[attr-defined]

    return commit
