"""Gramians loss by loss, for parameters of which nothing else is known."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ._hooks import hooks_suspended


def add_gramian_rowwise(gramian: Tensor, output: Tensor, leaves: Sequence[Tensor]) -> None:
    r"""Add :math:`J J^\top` to ``gramian``, where :math:`J` is the Jacobian by ``leaves``.

    One backward pass a loss. Never is more of :math:`J` held than the rows of one group of leaves,
    at most as large as the largest leaf; each group costs its own backward passes.

    :param gramian: Of shape ``[m, m]``, in the order of ``output.flatten()``.
    :param output: The losses, ``m`` elements.
    :param leaves: The leaves, those closest to the losses first.
    """
    with hooks_suspended(leaves):
        for group in _groups(leaves, output.numel()):
            for jacobian in _jacobians(output, group, gramian.dtype):
                gramian += (jacobian @ jacobian.T).to(gramian.device)


def _groups(leaves: Sequence[Tensor], m: int) -> Iterator[list[Tensor]]:
    """Yield runs of leaves whose rows fit where those of the largest leaf do."""
    total = sum(leaf.numel() for leaf in leaves)
    # An ordinary backward pass holds a gradient of each parameter: that room is free here.
    room = max(leaf.numel() for leaf in leaves) + total // m
    group: list[Tensor] = []
    size = 0
    for leaf in leaves:
        if group and size + leaf.numel() > room:
            yield group
            group, size = [], 0
        group.append(leaf)
        size += leaf.numel()
    yield group


def _jacobians(output: Tensor, leaves: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the Jacobian with respect to each leaf, of shape ``[m, leaf.numel()]``."""
    m = output.numel()
    jacobians = [
        torch.empty(m, x.numel() * (1 + x.is_complex()), dtype=dtype, device=x.device)
        for x in leaves
    ]
    for i in range(m):
        one = torch.zeros(m, dtype=output.dtype, device=output.device)
        one[i] = 1
        grads: tuple[Tensor | None, ...] = torch.autograd.grad(
            output, leaves, one.view_as(output), retain_graph=True, allow_unused=True
        )
        for jacobian, grad in zip(jacobians, grads, strict=True):
            if grad is None:
                jacobian[i].zero_()
            else:
                dense = grad if grad.layout == torch.strided else grad.to_dense()
                real = torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense
                jacobian[i].copy_(real.reshape(-1))
    return jacobians
