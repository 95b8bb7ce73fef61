"""Gramians loss by loss, for parameters of which nothing else is known."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ._hooks import hooks_suspended


def add_gramian_rowwise(
    gramian: Tensor, output: Tensor, leaves: Sequence[Tensor], budget: int
) -> None:
    r"""Add :math:`J J^\top` to ``gramian``, where :math:`J` is the Jacobian by ``leaves``.

    Leaf by leaf, or in groups of leaves that together are no larger than the largest, or whose rows
    fit in ``budget``: each group costs a backward pass a loss, as deep as its leaves lie.

    :param gramian: Of shape ``[m, m]``, in the order of ``output.flatten()``.
    :param output: The losses, ``m`` elements.
    :param leaves: The leaves, in the order of the graph.
    :param budget: The bytes that rows may take, if more than those of the largest leaf.
    """
    groups = list(_groups(leaves, budget // (output.numel() * gramian.element_size())))
    workspace = _Workspace(groups, output.numel(), gramian.dtype)
    with hooks_suspended(leaves):
        for group in groups:
            jacobians = workspace.rows(group)
            _fill(jacobians, output, group)
            for jacobian in jacobians:
                gramian += (jacobian @ jacobian.T).to(gramian.device)


class _Workspace:
    """Room for the rows of one group of leaves at a time, on each device.

    :param groups: The groups.
    :param m: The number of rows.
    :param dtype: That of the rows.
    """

    def __init__(self, groups: Sequence[Sequence[Tensor]], m: int, dtype: torch.dtype) -> None:
        self._m = m
        sizes: dict[torch.device, int] = {}
        for group in groups:
            for device in {leaf.device for leaf in group}:
                size = sum(_size(leaf) for leaf in group if leaf.device == device)
                sizes[device] = max(size, sizes.get(device, 0))
        # One allocation for all groups: an allocator may keep what is freed between them.
        self._room = {d: torch.empty(m * n, dtype=dtype, device=d) for d, n in sizes.items()}

    def rows(self, group: Sequence[Tensor]) -> list[Tensor]:
        """Return room for the rows of each leaf, of shape ``[m, size of the leaf]``."""
        used = dict.fromkeys(self._room, 0)
        rows = []
        for leaf in group:
            start = used[leaf.device]
            used[leaf.device] += self._m * _size(leaf)
            room = self._room[leaf.device][start : used[leaf.device]]
            rows.append(room.view(self._m, _size(leaf)))
        return rows


def _size(leaf: Tensor) -> int:
    """Return how many real numbers a gradient of ``leaf`` is."""
    return leaf.numel() * (1 + leaf.is_complex())


def _groups(leaves: Sequence[Tensor], least: int) -> Iterator[list[Tensor]]:
    """Yield runs of leaves as large as the largest one together, or as ``least``."""
    room = max(least, *map(_size, leaves))
    group: list[Tensor] = []
    size = 0
    for leaf in leaves:
        if group and size + _size(leaf) > room:
            yield group
            group, size = [], 0
        group.append(leaf)
        size += _size(leaf)
    yield group


def _fill(jacobians: Sequence[Tensor], output: Tensor, leaves: Sequence[Tensor]) -> None:
    """Write the Jacobian with respect to each leaf, row by row."""
    m = output.numel()
    for i in range(m):
        one = torch.zeros(m, dtype=output.dtype, device=output.device)
        one[i] = 1
        grads: tuple[Tensor | None, ...] = torch.autograd.grad(
            output, leaves, one.view_as(output), retain_graph=True, allow_unused=True
        )
        for jacobian, grad in zip(jacobians, grads, strict=True):
            _write(jacobian[i], grad)
        del grads, grad  # not to be held while the next row is computed


def _write(row: Tensor, grad: Tensor | None) -> None:
    """Write a gradient, dense or sparse, real or complex, into a row; zeros where there is none."""
    if grad is None:
        row.zero_()
        return
    dense = grad if grad.layout == torch.strided else grad.to_dense()
    real = torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense
    row.copy_(real.reshape(-1))
