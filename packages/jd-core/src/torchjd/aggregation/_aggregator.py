"""Aggregators: from the Jacobian of the objectives to one update."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchjd.linalg import Matrix
from torchjd.linalg._autocast import own_precision
from torchjd.linalg._blocks import JacobianBlocks
from torchjd.linalg._checks import as_matrix

from ._inputs import Losses, Needs, extra_inputs
from ._observed_calls import observed_call, shown_once
from ._observers import OBSERVED
from ._traits import Traits


class Aggregator(nn.Module, ABC):
    r"""Map a Jacobian :math:`J` of shape ``[m, n]`` to a vector of shape ``[n]``.

    Row :math:`i` is the gradient of objective :math:`i`; the result takes the place of the
    gradient, in the dtype and on the device of :math:`J`.

    :cvar traits: What the method guarantees and costs.

    >>> import torch
    >>> from torchjd.aggregation import Aggregator
    >>> class Median(Aggregator):
    ...     def forward(self, matrix, /):
    ...         return matrix.median(dim=0).values
    >>> Median()(torch.tensor([[1.0, 5.0], [2.0, 4.0], [9.0, 0.0]]))
    tensor([2., 4.])
    """

    traits: ClassVar[Traits] = Traits()

    def __init_subclass__(cls, *, shows_itself: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A way of its own with blocks may be any number of calls; observers are shown one.
        if "aggregate_blocks" in vars(cls) and not shows_itself:
            cls.aggregate_blocks = shown_once(cls.aggregate_blocks)  # type: ignore[method-assign]

    @property
    def needs(self) -> Needs:
        """What the method reads beside the rows that it combines; :class:`Weighting` explains."""
        return "jacobian"

    @property
    def needs_losses(self) -> bool:
        """Whether ``forward`` also takes the values of the objectives, by keyword."""
        return False

    @property
    def degree(self) -> float | None:
        r"""The k for which the result for :math:`s J` is :math:`s^k` times that for :math:`J`."""
        return None

    @abstractmethod
    def forward(self, matrix: Matrix, /, *args: Any, **kwargs: Any) -> Tensor:
        """Return the aggregation, of shape ``[n]``; the inputs have been checked."""

    def __call__(
        self,
        matrix: Tensor,
        /,
        *,
        losses: Losses | None = None,
        cross_gramian: Tensor | None = None,
    ) -> Tensor:
        """Check the inputs, then aggregate ``matrix``, through the module's hooks.

        :param matrix: The Jacobian, of shape ``[m, n]``.
        :param losses: The values of the objectives, one element a row; needed by some methods, and
            ignored by the others.
        :param cross_gramian: The Gramian across two batches, of shape ``[m, m]``; likewise.
        :raises TypeError: If ``matrix`` is not a real floating-point tensor, or an input that the
            method needs is missing.
        :raises ValueError: If ``matrix`` is not of shape ``[m, n]`` with ``m >= 1``, or another
            input has a wrong shape.
        """
        checked = as_matrix(matrix, "matrix")
        extra = self._extra(checked.shape[0], losses, cross_gramian)
        with own_precision(checked.device):
            if OBSERVED.in_use and not self._is_weighted_sum():
                return observed_call(self, super().__call__, checked, extra)
            result: Tensor = super().__call__(checked, **extra)
        return result

    def _extra(
        self, m: int, losses: Losses | None, cross_gramian: Tensor | None
    ) -> Mapping[str, Any]:
        """Return, by name, what ``forward`` is given beside the matrix."""
        return extra_inputs(self, m, losses, cross_gramian)

    def _is_weighted_sum(self) -> bool:
        """Return whether the result is the weighted sum of the rows, which shows itself."""
        return False

    def aggregate_blocks(
        self,
        blocks: Sequence[Tensor],
        *,
        losses: Losses | None = None,
        cross_gramian: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate a Jacobian that is held as one block per parameter.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :param losses: As for a call.
        :param cross_gramian: As for a call.
        :returns: The parts of the aggregation, of shape ``[n_1], ..., [n_p]``, in storage of their
            own; and the weights if the method has them, else None.
        :raises ValueError: If the aggregation is not of shape ``[n]``.
        """
        return self.aggregate_whole(blocks, losses=losses, cross_gramian=cross_gramian)

    def aggregate_whole(
        self,
        blocks: Sequence[Tensor],
        *,
        losses: Losses | None = None,
        cross_gramian: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate as :meth:`aggregate_blocks` does, by a call with the whole Jacobian.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :param losses: As for a call.
        :param cross_gramian: As for a call.
        :returns: The parts of the aggregation, and the weights or None.
        :raises ValueError: If the aggregation is not of shape ``[n]``.
        """
        matrix = JacobianBlocks(blocks).matrix()
        vector = self(matrix, losses=losses, cross_gramian=cross_gramian)
        sizes = [block.shape[1] for block in blocks]
        if not isinstance(vector, Tensor) or vector.shape != (sum(sizes),):
            found = list(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise ValueError(
                f"`{type(self).__name__}` must return a vector of shape [{sum(sizes)}]. "
                f"Got {found}."
            )
        parts = torch.split(vector.detach(), sizes)
        own = [part.to(b, copy=True) for part, b in zip(parts, blocks, strict=True)]
        return own, None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
