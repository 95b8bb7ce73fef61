"""The cotangents of a Jacobian's rows: which outputs each row starts from, and with what."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from ._scaling import RowScaling

Start = tuple[list[Tensor], list[Tensor]]
"""Outputs, and a cotangent for each (with a leading dimension of rows if there are several)."""


class Cotangents(ABC):
    """The m cotangents that are pulled back, one a row of the Jacobian.

    :ivar m: How many.
    :ivar scaling: By what they are multiplied, and their rows have to be divided; None for 1.
    """

    def __init__(self, m: int, scaling: RowScaling | None) -> None:
        self.m = m
        self.scaling = scaling

    @abstractmethod
    def row(self, r: int) -> Start:
        """Return where row ``r`` starts."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Start:
        """Return where the rows from ``start`` to ``stop`` start, together."""

    @abstractmethod
    def needs_graph_after(self, r: int) -> bool:
        """Whether a later row passes through the part of the graph that row ``r`` used."""


class GivenCotangents(Cotangents):
    """One row for each index along the first dimension of the given cotangents.

    :param outputs: What is differentiated.
    :param cotangents: Tensors of shape ``[m, *output.shape]``, one for each output; scaled already.
    :param scaling: By what they were.
    """

    def __init__(
        self,
        outputs: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        scaling: RowScaling | None = None,
    ) -> None:
        super().__init__(cotangents[0].shape[0], scaling)
        self._outputs = list(outputs)
        self._cotangents = cotangents

    def row(self, r: int) -> Start:
        return self._outputs, [cotangent[r] for cotangent in self._cotangents]

    def rows(self, start: int, stop: int) -> Start:
        return self._outputs, [cotangent[start:stop] for cotangent in self._cotangents]

    def needs_graph_after(self, r: int) -> bool:
        return r < self.m - 1


class UnitCotangents(Cotangents):
    """One row for each element of each output: the identity, which is never built as a whole.

    A row starts from its own output alone: it passes through no other head, and what is not finite
    in one objective does not reach the rows of the others.

    :param outputs: What is differentiated; none is empty.
    :param meets_later: For each output, whether its graph is also that of a later output.
    :param scaling: What takes the place of the ones, if anything.
    """

    def __init__(
        self,
        outputs: Sequence[Tensor],
        meets_later: Sequence[bool],
        scaling: RowScaling | None = None,
    ) -> None:
        self._ends = list(accumulate(output.numel() for output in outputs))
        super().__init__(self._ends[-1], scaling)
        self._outputs = outputs
        self._meets_later = meets_later

    def row(self, r: int) -> Start:
        k = self._owner(r)
        output = self._outputs[k]
        scaling = self.scaling
        if output.numel() == 1:
            one = torch.ones_like(output) if scaling is None else scaling.seed(output, r)
            return [output], [one]
        unit = torch.zeros_like(output, memory_format=torch.contiguous_format)
        unit.view(-1)[r - self._begin(k)] = 1.0 if scaling is None else scaling.scales[r]
        return [output], [unit]

    def rows(self, start: int, stop: int) -> Start:
        owners = range(self._owner(start), self._owner(stop - 1) + 1)
        return [self._outputs[k] for k in owners], [self._units(k, start, stop) for k in owners]

    def needs_graph_after(self, r: int) -> bool:
        k = self._owner(r)
        return r < self._ends[k] - 1 or self._meets_later[k]

    def _owner(self, r: int) -> int:
        return bisect_right(self._ends, r)

    def _begin(self, k: int) -> int:
        return self._ends[k] - self._outputs[k].numel()

    def _units(self, k: int, start: int, stop: int) -> Tensor:
        output, begin = self._outputs[k], self._begin(k)
        first, last = max(start, begin), min(stop, self._ends[k])
        units = output.new_zeros(stop - start, output.numel())
        units[first - start : last - start, first - begin : last - begin].fill_diagonal_(1.0)
        if self.scaling is not None:
            units = self.scaling.scale(units, start)
        return units.view(stop - start, *output.shape)
