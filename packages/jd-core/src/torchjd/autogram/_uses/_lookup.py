"""A use by lookups in a table: the gradients have few rows that are not zero."""

from itertools import pairwise

import torch
from torch import Tensor

from ._cost import cost
from ._use import Use

# What is formed on the way to the Gramian is formed a block at a time: on a CPU so that the block
# stays in the cache, on an accelerator so that each of its kernels has enough to do.
_BLOCK_BYTES = 1 << 21
_BLOCK_BYTES_ON_DEVICE = 1 << 26
# One sample in so many is few.
_FEW = 8


class Lookup(Use):
    r"""Gradients :math:`J_{kb} = \sum_{t : o_t = b} e_{i_t} B_{kt}^\top`, of shape ``[v, d]``.

    :param tokens: For each of the lookups, the row :math:`i_t` that it reads, of shape ``[t]``.
    :param owners: For each of the lookups, the sample :math:`o_t` that it belongs to.
    :param cotangents: :math:`B`, of shape ``[tasks, t, d]``.
    :param batch: The number of samples.
    :param size: The number :math:`v` of rows of the table.
    :param padding: The row that has no gradient; negative if all have one.
    """

    def __init__(
        self,
        tokens: Tensor,
        owners: Tensor,
        cotangents: Tensor,
        *,
        batch: int,
        size: int,
        padding: int = -1,
    ) -> None:
        self.tasks, self._t, self._d = cotangents.shape
        self.batch = batch
        self.shape = torch.Size((size, self._d))
        # Not all that is indexed here takes short integers.
        self._tokens, self._owners = tokens.long(), owners
        self._B, self._padding = cotangents, padding

    def tensors(self) -> list[Tensor]:
        return [self._tokens, self._owners, self._B]

    def merge(self, other: Use, /) -> Use | None:
        if not isinstance(other, Lookup) or other._padding != self._padding:
            return None
        return Lookup(
            torch.cat([self._tokens, other._tokens]),
            torch.cat([self._owners, other._owners]),
            torch.cat([self._B, other._B], dim=1),
            batch=self.batch,
            size=self.shape[0],
            padding=self._padding,
        )

    def rows(self) -> Tensor:
        size = self.shape[0]
        places = (self._losses() * size + self._tokens).flatten()
        J = self._B.new_zeros(self.m * size, self._d)
        J.index_add_(0, places, self._B.flatten(0, 1))
        J = J.view(self.m, *self.shape)
        if self._padding >= 0:
            J[:, self._padding] = 0.0
        return J

    def add_gramian(self, gramian: Tensor, keep: int) -> Use | None:
        if self._on_cpu:
            self._add_on_cpu(gramian)
        else:
            self._add_on_device(gramian)
        return self if self.nbytes() <= keep else None

    def weighted(self, weights: Tensor) -> Tensor:
        weights = weights[:, self._owners]
        B = self._B[0] * weights[0, :, None]
        for k in range(1, self.tasks):
            B.addcmul_(self._B[k], weights[k, :, None])
        gradient = B.new_zeros(self.shape).index_add_(0, self._tokens, B)
        if self._padding >= 0:
            gradient[self._padding] = 0.0
        return gradient

    def _losses(self) -> Tensor:
        """Return the loss of each cotangent, of shape ``[tasks, t]``."""
        tasks = torch.arange(self.tasks, device=self._owners.device)
        return tasks[:, None] * self.batch + self._owners

    def _add_on_cpu(self, gramian: Tensor) -> None:
        """Add the products by pairs of samples for rows that few read, by a matrix for the others.

        Of a large table, most rows that are read at all are read by few samples.
        """
        lookups = torch.arange(self._t)
        if self._padding >= 0:
            lookups = lookups[self._tokens != self._padding]
        keys, order = (self._tokens[lookups] * self.batch + self._owners[lookups]).sort()
        lookups = lookups[order]
        entries, entry_of = torch.unique_consecutive(keys, return_inverse=True)
        _, number_of, readers = torch.unique_consecutive(
            entries // self.batch, return_inverse=True, return_counts=True
        )
        many = readers > max(1, self.batch // _FEW)
        few = int((readers * ~many).max()) if len(readers) else 0
        pairs = _pairs(number_of, ~many[number_of], few)
        if self._prefers_ghost(int(many.sum()), pairs.shape[1]):
            self._add_ghost(gramian)
            return
        read_by_many = many[number_of][entry_of]
        self._add_by_pairs(gramian, lookups, entry_of, entries % self.batch, pairs)
        numbers = (many.cumsum(0) - 1)[number_of][entry_of]
        self._add_by_tokens(gramian, lookups[read_by_many], numbers[read_by_many])

    def _add_on_device(self, gramian: Tensor) -> None:
        """Add the products without any knowledge for which the device has to be waited for."""
        size = self.shape[0]
        if size <= self._t:
            numbers, touched = self._tokens, size
        else:
            # There are no more rows that are read than lookups: number them without gaps.
            ordered, order = self._tokens.sort()
            rank = torch.zeros_like(ordered)
            rank[1:] = ordered[1:] != ordered[:-1]
            numbers, touched = torch.empty_like(rank).index_copy_(0, order, rank.cumsum(0)), self._t
        if self._prefers_ghost(touched):
            self._add_ghost(gramian)
        else:
            self._add_by_columns(gramian, numbers, touched)

    def _prefers_ghost(self, touched: int, pairs: int = 0) -> bool:
        m, d, size = self.m, self._d, self._B.element_size()
        everything = (self.tasks * self._t) ** 2
        ghost = cost(everything * d / 2, 2 * size * everything)
        rows = cost(m * m * touched * d, size * (m * touched + self.tasks * self._t) * d)
        compared = self.tasks**2 * pairs * d
        return ghost < rows + cost(compared, 2 * size * compared)

    def _add_ghost(self, gramian: Tensor) -> None:
        """Add the products of all pairs of cotangents of which the tokens are the same."""
        n, d = self.tasks * self._t, self._d
        B, losses = self._B.reshape(n, d), self._losses().flatten()
        tokens = self._tokens.expand(self.tasks, -1).flatten()
        step = max(1, self._block_bytes() // (B.element_size() * n))
        for start in range(0, n, step):
            # Pairs of a block with itself and with what follows; the others mirror them.
            block = slice(start, start + step)
            products = B[start:] @ B[block].T
            apart = tokens[start:, None] != tokens[block]
            if self._padding >= 0:
                apart |= tokens[block] == self._padding
            products.masked_fill_(apart, 0.0)
            upper = products.new_zeros(self.m, products.shape[1])
            inner = products[: products.shape[1]]
            upper.index_add_(0, losses[block], inner, alpha=0.5)
            upper.index_add_(0, losses[start + step :], products[products.shape[1] :])
            part = gramian.new_zeros(self.m, self.m).index_add_(0, losses[block], upper.T)
            gramian.add_(part).add_(part.T)

    def _add_by_pairs(
        self, gramian: Tensor, lookups: Tensor, entry_of: Tensor, owners: Tensor, pairs: Tensor
    ) -> None:
        """Add the products of pairs of entries: of what one sample reads of one row."""
        k, m = self.tasks, self.m
        n, size = max(k * k * pairs.shape[1], k * len(owners)), self._B.element_size()
        step = max(1, self._block_bytes() // (size * max(n, 1)))
        losses = torch.arange(k)[:, None] * self.batch + owners
        left, right = losses[:, pairs[0]], losses[:, pairs[1]]
        places = (left[:, None] * m + right).flatten()
        # A pair of an entry with itself is its own mirror image.
        once = torch.where(pairs[0] == pairs[1], 0.5, 1.0).to(self._B.dtype)
        part = gramian.new_zeros(m * m)
        for start in range(0, self._d, step):
            B = self._B[:, lookups, start : start + step]
            J = B.new_zeros(k, len(owners), B.shape[2]).index_add_(1, entry_of, B)
            products = (J[:, None, pairs[0]] * J[:, pairs[1]]).sum(3).mul_(once)
            part.index_add_(0, places, products.flatten())
        gramian.add_(part.view(m, m)).add_(part.view(m, m).T)

    def _add_by_tokens(self, gramian: Tensor, lookups: Tensor, numbers: Tensor) -> None:
        """Add the products of some rows, which are in order, a few of them at a time."""
        losses = self._losses()
        step = max(1, self._block_bytes() // (self._B.element_size() * self.m * self._d))
        touched = int(numbers[-1]) + 1 if len(numbers) else 0
        edges = torch.searchsorted(numbers, torch.arange(0, touched + step, step)).tolist()
        for i, (start, end) in enumerate(pairwise(edges)):
            some = lookups[start:end]
            places = losses[:, some] * step + (numbers[start:end] - i * step)
            J = self._B.new_zeros(self.m * step, self._d)
            J.index_add_(0, places.flatten(), self._B[:, some].flatten(0, 1))
            matrix = J.view(self.m, -1)
            gramian.addmm_(matrix, matrix.T)

    def _add_by_columns(self, gramian: Tensor, numbers: Tensor, touched: int) -> None:
        """Add the products of the rows that were read, some columns at a time.

        That takes no knowledge of how many there are of each.
        """
        places = (self._losses() * touched + numbers).flatten()
        padded = None
        if self._padding >= 0:
            padded = numbers.new_zeros(touched, dtype=torch.bool)
            padded.index_copy_(0, numbers, self._tokens == self._padding)
        step = max(1, self._block_bytes() // (self._B.element_size() * self.m * touched))
        for start in range(0, self._d, step):
            B = self._B[:, :, start : start + step]
            J = B.new_zeros(self.m * touched, B.shape[2])
            J.index_add_(0, places, B.flatten(0, 1))
            if padded is not None:
                J.view(self.m, touched, -1).masked_fill_(padded[:, None], 0.0)
            matrix = J.view(self.m, -1)
            gramian.addmm_(matrix, matrix.T)

    @property
    def _on_cpu(self) -> bool:
        return self._B.device.type == "cpu"

    def _block_bytes(self) -> int:
        return _BLOCK_BYTES if self._on_cpu else _BLOCK_BYTES_ON_DEVICE


def _pairs(numbers: Tensor, chosen: Tensor, most: int) -> Tensor:
    """Return the pairs of entries of the same row, the latter not before the former.

    :param numbers: The row of each entry, in order.
    :param chosen: Which entries are to be paired.
    :param most: How many chosen entries there are of a row at most.
    """
    firsts = chosen.nonzero().flatten()
    pairs = [torch.stack([firsts, firsts])]
    for apart in range(1, most):
        firsts = firsts[firsts + apart < len(numbers)]
        firsts = firsts[numbers[firsts] == numbers[firsts + apart]]
        pairs.append(torch.stack([firsts, firsts + apart]))
    return torch.cat(pairs, dim=1)
