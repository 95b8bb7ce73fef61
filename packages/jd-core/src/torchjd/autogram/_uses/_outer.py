"""A use by a matrix product: the gradients are sums of outer products."""

import torch
from torch import Tensor

from ._cost import cost
from ._rows import Rows
from ._square import SharedSquare, square
from ._use import Use

# Materialised rows are contracted a block at a time, while they are in the cache.
_BLOCK_BYTES = 1 << 21
_PADDING = 16
# More than this is not spent on the products of all pairs.
_PAIRS_BYTES = 1 << 24


class OuterProducts(Use):
    r"""Gradients :math:`J_{kb} = \sum_t B_{kbt} A_{bt}^\top`, of shape ``[p, d]``.

    So are those of a matrix :math:`W` in :math:`y_{bt} = W a_{bt}`, where :math:`B` are the
    cotangents of :math:`y`. They are not formed where that is dearer than the products

    .. math:: (J J^\top)_{kb,lc} = \sum_{t,s} (A_{bt}^\top A_{cs}) (B_{kbt}^\top B_{lcs}).

    :param inputs: :math:`A`, of shape ``[batch, t, d]``.
    :param cotangents: :math:`B`, of shape ``[tasks, batch, t, p]``.
    :param transposed: Whether the parameter has shape ``[d, p]`` instead.

    >>> import torch
    >>> from torchjd.autogram.rules import OuterProducts
    >>> use = OuterProducts(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[[3.0, 4.0]]]]))
    >>> use.rows()
    tensor([[[3., 6.],
             [4., 8.]]])
    >>> use.add_gramian(gramian := torch.zeros(1, 1), keep=0)
    >>> gramian  # (1 + 4) * (9 + 16)
    tensor([[125.]])
    """

    def __init__(self, inputs: Tensor, cotangents: Tensor, transposed: bool = False) -> None:
        self.tasks, self.batch, self._t, self._p = cotangents.shape
        self._d = inputs.shape[2]
        self.shape = torch.Size((self._d, self._p) if transposed else (self._p, self._d))
        self._parts = [(inputs, cotangents)]
        self._transposed = transposed
        self._shared: SharedSquare | None = None

    def transpose(self) -> "OuterProducts":
        """Return the same use, of the transposed parameter."""
        transposed = OuterProducts(*self._factors(), not self._transposed)
        transposed._shared = self._shared
        return transposed

    def of_bias(self) -> Rows:
        r"""Return the use of a vector that was added to each product: :math:`\sum_t B_{kbt}`.

        To be asked for once: the products of the cotangents are then computed once for both uses.
        """
        _, B = self._factors()
        if self._t > 1:
            return Rows(B.sum(2))
        B = B[:, :, 0]
        self._shared = SharedSquare(B.reshape(self.m, self._p))
        return Rows(B, self._shared)

    def tensors(self) -> list[Tensor]:
        return [tensor for part in self._parts for tensor in part]

    def merge(self, other: Use, /) -> Use | None:
        if not isinstance(other, OuterProducts) or other._transposed != self._transposed:
            return None
        # A recurrent layer has one use a step: they are put together when all have come.
        self._parts += other._parts
        self._t += other._t
        self._shared = None
        return self

    def rows(self) -> Tensor:
        J = torch.bmm(self._cotangents_by_row().transpose(1, 2), self._inputs_by_row())
        return J.transpose(1, 2) if self._transposed else J

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        if self._prefers_ghost():
            self._add_ghost(gramian)
            return self if self.nbytes() <= keep else None
        A, _ = self._factors()
        size = A.element_size() * self.m * self._p * self._d
        if size <= min(keep, self.nbytes()):
            # The rows take less room than what they are made of, and are cheaper to weigh.
            kept = Rows(torch.unflatten(self.rows(), 0, (self.tasks, self.batch)))
            return kept.add_gramian(gramian, keep)
        self._add_by_blocks(gramian)
        return self if self.nbytes() <= keep else None

    def weighted(self, weights: Tensor) -> Tensor:
        A, B = self._factors()
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
        A, _ = self._factors()
        size, pairs = A.element_size(), (m * t) ** 2
        if size * pairs > max(_PAIRS_BYTES, 2 * self.nbytes()):
            return False
        # The products are symmetric, and not much more than one half of them is computed; the rows
        # do not leave the cache: one byte of them costs a fraction of one of memory.
        ghost = cost(2 / 3 * ((self.batch * t) ** 2 * self._d + pairs * self._p), size * pairs)
        rows = cost(m * t * n + m * m * n, size * m * n / 2)
        return ghost < rows

    def _add_ghost(self, gramian: Tensor) -> None:
        k, b, t = self.tasks, self.batch, self._t
        A, B = self._factors()
        AA = square(A.reshape(b * t, self._d))
        BB = square(B.reshape(k * b * t, self._p)) if self._shared is None else self._shared.take()
        if t == 1:
            gramian.view(k, b, k, b).addcmul_(BB.view(k, b, k, b), AA.view(1, b, 1, b))
            return
        products = BB.view(k, b, t, k, b, t).mul_(AA.view(1, b, t, 1, b, t))
        gramian.view(k, b, k, b).add_(products.sum((2, 5)))

    def _add_by_blocks(self, gramian: Tensor) -> None:
        A, B = self._inputs_by_row(), self._cotangents_by_row()
        height = max(1, _BLOCK_BYTES // (A.element_size() * self.m * self._d))
        # Products are slow where their rows do not fill the registers of the processor.
        height = min(height - height % 16 or height, self._p)
        # Rows a power of two apart would compete for the same lines of the cache.
        workspace = A.new_empty(self.m, height * self._d + _PADDING)
        for start in range(0, self._p, height):
            part = B[:, :, start : start + height].transpose(1, 2)
            block = workspace[:, : part.shape[1] * self._d]
            torch.bmm(part, A, out=torch.unflatten(block, 1, (part.shape[1], self._d)))
            gramian.addmm_(block, block.T)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """Return :math:`A` and :math:`B`, each in one piece."""
        if len(self._parts) > 1:
            inputs, cotangents = zip(*self._parts, strict=True)
            self._parts = [(torch.cat(inputs, dim=1), torch.cat(cotangents, dim=2))]
        return self._parts[0]

    def _inputs_by_row(self) -> Tensor:
        A, _ = self._factors()
        if self.tasks == 1:
            return A
        return A.expand(self.tasks, *A.shape).reshape(self.m, self._t, self._d)

    def _cotangents_by_row(self) -> Tensor:
        _, B = self._factors()
        return B.reshape(self.m, self._t, self._p)
