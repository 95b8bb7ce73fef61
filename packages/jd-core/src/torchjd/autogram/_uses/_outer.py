"""A use by a matrix product: the gradients are sums of outer products."""

import torch
from torch import Tensor

from ._cost import cost
from ._rows import Rows
from ._square import square
from ._use import Use

# Materialised rows are contracted a block at a time, while they are in the cache.
_BLOCK_BYTES = 1 << 21


class OuterProducts(Use):
    r"""Gradients :math:`J_{kb} = \sum_t B_{kbt} A_{bt}^\top`, of shape ``[p, d]``.

    :param inputs: :math:`A`, of shape ``[batch, t, d]``.
    :param cotangents: :math:`B`, of shape ``[tasks, batch, t, p]``.
    :param transposed: Whether the parameter has shape ``[d, p]`` instead.
    """

    def __init__(self, inputs: Tensor, cotangents: Tensor, transposed: bool = False) -> None:
        self.tasks, self.batch, self._t, self._p = cotangents.shape
        self._d = inputs.shape[2]
        self.shape = torch.Size((self._d, self._p) if transposed else (self._p, self._d))
        self._A, self._B, self._transposed = inputs, cotangents, transposed

    def transpose(self) -> "OuterProducts":
        """Return the same use, of the transposed parameter."""
        return OuterProducts(self._A, self._B, not self._transposed)

    def tensors(self) -> list[Tensor]:
        return [self._A, self._B]

    def merge(self, other: Use) -> Use | None:
        if isinstance(other, OuterProducts) and other._transposed == self._transposed:
            A = torch.cat([self._A, other._A], dim=1)
            return OuterProducts(A, torch.cat([self._B, other._B], dim=2), self._transposed)
        return None

    def rows(self) -> Tensor:
        J = torch.bmm(self._cotangents_by_row().transpose(1, 2), self._inputs_by_row())
        return J.transpose(1, 2) if self._transposed else J

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        if self._prefers_ghost():
            self._add_ghost(gramian)
            return self if self.nbytes() <= keep else None
        size = self._A.element_size() * self.m * self._p * self._d
        if size <= min(keep, self.nbytes()):
            # The rows take less room than what they are made of, and are cheaper to weigh.
            kept = Rows(torch.unflatten(self.rows(), 0, (self.tasks, self.batch)))
            return kept.add_gramian(gramian, keep)
        self._add_by_blocks(gramian)
        return self if self.nbytes() <= keep else None

    def weighted(self, weights: Tensor) -> Tensor:
        A, B = self._A, self._B
        if self.tasks > 1:
            B = torch.einsum("kb,kbtp->btp", weights, B)
        elif self._d < self._p:
            # The smaller factor takes the weights: it is copied.
            A, B = A * weights[0, :, None, None], B[0]
        else:
            B = B[0] * weights[0, :, None, None]
        if A.stride(0) < A.stride(1):
            # The order of the terms is free: that of the memory needs no copy.
            A, B = A.transpose(0, 1), B.transpose(0, 1)
        A, B = A.reshape(-1, self._d), B.reshape(-1, self._p)
        return A.T @ B if self._transposed else B.T @ A

    def _prefers_ghost(self) -> bool:
        m, t, n = self.m, self._t, self._p * self._d
        if t == 1:
            return True
        size = self._A.element_size()
        pairs = (m * t) ** 2
        ghost = cost((self.batch * t) ** 2 * self._d + pairs * self._p, 4 * size * pairs)
        rows = cost(m * t * n + m * m * n, 3 * size * m * n)
        return ghost < rows

    def _add_ghost(self, gramian: Tensor) -> None:
        k, b, t = self.tasks, self.batch, self._t
        A, B = self._A.reshape(b * t, self._d), self._B.reshape(k * b * t, self._p)
        AA, BB = square(A), square(B)
        if t == 1:
            gramian.view(k, b, k, b).addcmul_(BB.view(k, b, k, b), AA.view(1, b, 1, b))
            return
        products = BB.view(k, b, t, k, b, t).mul_(AA.view(1, b, t, 1, b, t))
        gramian.view(k, b, k, b).add_(products.sum((2, 5)))

    def _add_by_blocks(self, gramian: Tensor) -> None:
        A, B = self._inputs_by_row(), self._cotangents_by_row().transpose(1, 2)
        columns = max(1, _BLOCK_BYTES // (A.element_size() * self.m * self._d))
        workspace = A.new_empty(self.m * min(columns, self._p) * self._d)
        for start in range(0, self._p, columns):
            part = B[:, start : start + columns]
            block = workspace[: self.m * part.shape[1] * self._d].view(self.m, -1)
            torch.bmm(part, A, out=block.view(self.m, -1, self._d))
            gramian.addmm_(block, block.T)

    def _inputs_by_row(self) -> Tensor:
        if self.tasks == 1:
            return self._A
        shape = (self.tasks, *self._A.shape)
        return self._A.expand(shape).reshape(self.m, self._t, self._d)

    def _cotangents_by_row(self) -> Tensor:
        return self._B.reshape(self.m, self._t, self._p)
