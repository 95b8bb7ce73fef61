"""TrimmedMean: the mean of each coordinate, without its most extreme values."""

from collections.abc import Iterator, Sequence
from types import ModuleType

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Traits
from torchjd.linalg import Matrix

from ._on_host import numpy_module, on_host
from ._order_statistics import is_sorted_faster, mean_of_middle, middle
from ._settings import Configured, Count
from ._spectrum import Array

# Columns taken at a time: what is made of them stays in the cache, and on other devices small
# beside the Jacobian.
_COLUMNS = {"cpu": 1 << 15}
_COLUMNS_ELSEWHERE = 1 << 20


class TrimmedMean(Configured, Aggregator):
    r"""The mean of each column of :math:`J`, without its :math:`b` least and greatest values.

    .. math:: \mathcal{A}(J)_k = \frac{1}{m - 2b} \sum_{i=b+1}^{m-b} g_{(i)k},

    with :math:`g_{(1)k} \le \dots \le g_{(m)k}` the values of coordinate :math:`k`. As long as at
    most :math:`b` of the rows come from adversaries, each coordinate of the result is between two
    values of the other rows. Source: Yin, Chen, Ramchandran and Bartlett, "Byzantine-Robust
    Distributed Learning: Towards Optimal Statistical Rates", ICML 2018, definition 2.

    An infinity or NaN is no extreme value: the result at its coordinate is not finite either, as an
    overflow must not pass for an adversary.

    :param trim_number: The number :math:`b` of values that are left out at either end.
    :raises TypeError: If ``trim_number`` is no int.
    :raises ValueError: If it is negative; when called, if there are no more than
        ``2 * trim_number`` rows.

    >>> import torch
    >>> from torchjd.aggregation import TrimmedMean
    >>> J = torch.tensor([[1.0, -1e9], [2.0, 3.0], [-1e9, 4.0], [3.0, 1e9]])
    >>> TrimmedMean(trim_number=1)(J)
    tensor([1.5000, 3.5000])
    """

    traits = Traits(permutation=True, cost="m n log^2 m", on_device=True)
    degree = 1.0
    trim_number = Count("How many values are left out at either end.")

    def __init__(self, trim_number: int) -> None:
        super().__init__()
        self.trim_number = trim_number

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the aggregation, of shape ``[n]``."""
        (m, n), trim = matrix.shape, self.trim_number
        if m <= 2 * trim:
            raise ValueError(
                f"`trim_number` must be less than half of the number of rows, {m}. Got {trim}. "
                f"Of {m} rows, at most {(m - 1) // 2} can be left out at either end."
            )
        size = _columns(matrix)
        if n <= size:
            return _trimmed_mean(matrix, m, n, trim)
        means = matrix.new_empty(n)
        for start in range(0, n, size):
            part = matrix[:, start : start + size]
            means[start : start + size] = _trimmed_mean(part, m, part.shape[1], trim)
        return means

    def aggregate_blocks(
        self,
        blocks: Sequence[Tensor],
        *,
        losses: Tensor | Sequence[Tensor] | None = None,
        cross_gramian: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate block by block: no tensor of the size of the Jacobian is made.

        A subclass that aggregates in its own way, and a hook on the aggregator, see one matrix.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :param losses: Of no use here.
        :param cross_gramian: Likewise.
        :returns: The parts of the aggregation, of shape ``[n_1], ..., [n_p]``; and None.
        """
        own_forward = type(self).forward is not TrimmedMean.forward
        if own_forward or self._forward_hooks or self._forward_pre_hooks:
            return self.aggregate_whole(blocks, losses=losses, cross_gramian=cross_gramian)
        parts: list[Tensor] = []
        with torch.no_grad():
            for group in _groups(blocks):
                if len(group) == 1:
                    parts.append(self(group[0]))
                else:
                    sizes = [block.shape[1] for block in group]
                    together = self(torch.cat(group, dim=1))
                    parts += [part.clone() for part in torch.split(together, sizes)]
        return parts, None


def _trimmed_mean(rows: Tensor, m: int, n: int, trim: int) -> Tensor:
    """Return the trimmed mean of some columns, of shape ``[m, n]``, in their dtype."""
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    numpy = numpy_module() if trim > 0 and on_host(wide) else None
    if numpy is not None and not (wide.requires_grad and torch.is_grad_enabled()):
        return torch.from_numpy(_by_numpy(numpy, wide.detach().numpy(), trim)).to(rows.dtype)
    # Each value is divided before they are added: a mean does not overflow.
    share = 1.0 / (m - 2 * trim)
    if trim == 0:
        mean = (wide * share).sum(0)
    elif is_sorted_faster(m, n):
        shares = wide.new_zeros(m, 1)
        shares[trim : m - trim] = share
        # Times zero, a value that was left out is NaN if it is not finite.
        mean = (wide.sort(dim=0).values * shares).sum(0)
    else:
        mean = (wide * 0.0).sum(0)  # here likewise
        for values in middle(wide, trim):
            mean = mean.add(values, alpha=share)
    return mean.to(rows.dtype)


def _by_numpy(numpy: ModuleType, rows: Array, trim: int) -> Array:
    if numpy.isfinite(rows).all():
        return mean_of_middle(numpy, rows, trim)
    with numpy.errstate(invalid="ignore"):
        return mean_of_middle(numpy, rows, trim) + (rows * 0.0).sum(axis=0)


def _columns(block: Tensor) -> int:
    return _COLUMNS.get(block.device.type, _COLUMNS_ELSEWHERE)


def _groups(blocks: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield neighbours of few columns together: many small blocks cost as one."""
    group: list[Tensor] = []
    free = 0
    for block in blocks:
        alike = group and (block.dtype, block.device) == (group[0].dtype, group[0].device)
        if group and (not alike or block.shape[1] > free):
            yield group
            group = []
        free = (free if group else _columns(block)) - block.shape[1]
        group.append(block)
    yield group
