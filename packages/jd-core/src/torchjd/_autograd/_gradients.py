"""Gradients onto ``.grad``: computed aside, then committed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Commit = Callable[[], None]
"""Assigns what was computed; cannot fail."""


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
