"""Jacobians and gradients onto tensors: checked, computed aside, then committed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Commit = Callable[[], None]
"""Assigns what was computed; cannot fail."""


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


@torch.no_grad()
def add_to_grads(tensors: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Commit:
    """Add to each ``.grad``, or set it, as ``torch.autograd.backward`` does.

    A tensor whose gradient is None keeps its ``.grad``. An existing ``.grad`` is written in place
    where it can be, since others may hold it.

    :param grads: Tensors that the caller owns, of the shape and dtype of ``tensors``; or None.
    """
    totals = [
        (tensor, grad if tensor.grad is None else total(grad, tensor.grad.detach()))
        for tensor, grad in zip(tensors, grads, strict=True)
        if grad is not None
    ]

    def commit() -> None:
        with torch.no_grad():
            for tensor, grad in totals:
                if tensor.grad is not None and _writable(tensor.grad, grad):
                    tensor.grad.copy_(grad)
                else:
                    tensor.grad = grad

    return commit


def own(grad: Tensor) -> Tensor:
    """Return ``grad`` in storage that no other tensor shares, with every element in memory."""
    grad = grad.detach()
    return grad.clone(memory_format=torch.contiguous_format) if _dense(grad) else grad.clone()


def total(owned: Tensor, other: Tensor) -> Tensor:
    """Return the sum of two gradients, each dense or sparse, in the storage of ``owned`` if dense.

    The sum of two sparse gradients is sparse.
    """
    if _dense(owned):
        owned += other if _dense(other) else other.to_dense()
        return owned
    return other + owned


def _dense(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided


def _writable(old: Tensor, new: Tensor) -> bool:
    if old.requires_grad or not (_dense(old) and _dense(new)):
        return False
    # What is expanded has several indices for one place in memory.
    return all(stride or size <= 1 for stride, size in zip(old.stride(), old.shape, strict=True))
