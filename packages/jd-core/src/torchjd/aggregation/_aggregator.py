"""Aggregators: from the Jacobian of the objectives to one update."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchjd.linalg import Matrix, PSDMatrix
from torchjd.linalg._blocks import JacobianBlocks
from torchjd.linalg._checks import as_matrix

from ._weighting import Weighting, check_weights


class Aggregator(nn.Module, ABC):
    r"""Map a Jacobian :math:`J` of shape ``[m, n]`` to a vector of shape ``[n]``.

    Row :math:`i` is the gradient of objective :math:`i`; the result takes the place of the
    gradient, in the dtype and on the device of :math:`J`.

    >>> import torch
    >>> from torchjd.aggregation import Aggregator
    >>> class Median(Aggregator):
    ...     def forward(self, matrix, /):
    ...         return matrix.median(dim=0).values
    >>> Median()(torch.tensor([[1.0, 5.0], [2.0, 4.0], [9.0, 0.0]]))
    tensor([2., 4.])
    """

    @abstractmethod
    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the aggregation, of shape ``[n]``; ``matrix`` has been checked."""

    def __call__(self, matrix: Tensor, /) -> Tensor:
        """Check ``matrix``, then aggregate it, through the module's hooks.

        :raises TypeError: If ``matrix`` is not a real floating-point tensor.
        :raises ValueError: If it is not of shape ``[m, n]`` with ``m >= 1``.
        """
        result: Tensor = super().__call__(as_matrix(matrix, "matrix"))
        return result

    def aggregate_blocks(self, blocks: Sequence[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate a Jacobian that is held as one block per parameter.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :returns: The parts of the aggregation, of shape ``[n_1], ..., [n_p]``, in storage of their
            own; and the weights if the method has them, else None.
        :raises ValueError: If the aggregation is not of shape ``[n]``.
        """
        return self.aggregate_whole(blocks)

    def aggregate_whole(self, blocks: Sequence[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate as :meth:`aggregate_blocks` does, by a call with the whole Jacobian.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :returns: The parts of the aggregation, and the weights or None.
        :raises ValueError: If the aggregation is not of shape ``[n]``.
        """
        vector = self(JacobianBlocks(blocks).matrix())
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


class WeightedAggregator(Aggregator):
    r"""Aggregate as :math:`w^\top J`, with weights from a weighting.

    The weights count as constants where the aggregation is differentiated. They and the sum are
    formed in at least the precision of :math:`J`.

    :param weighting: What gives the weights. A :class:`GramianWeighting` is handed the Gramian.
    :raises TypeError: If ``weighting`` is no weighting of matrices.
    """

    def __init__(self, weighting: Weighting[Matrix] | Weighting[PSDMatrix]) -> None:
        super().__init__()
        if not isinstance(weighting, Weighting):
            raise TypeError(
                f"`weighting` must be a Weighting. Got {type(weighting).__name__}."
                + (" Pass an instance, not the class." if isinstance(weighting, type) else "")
            )
        self.weighting = weighting

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the weighted sum of the rows of ``matrix``, of shape ``[n]``."""
        return self._combine(JacobianBlocks([matrix]))[0][0]

    def aggregate_blocks(self, blocks: Sequence[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate block by block: no tensor of the size of the Jacobian is made.

        A subclass that aggregates in its own way, and a hook on the aggregator, see one matrix.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :returns: The parts of the aggregation, and the weights, of shape ``[m]``.
        """
        own_forward = type(self).forward is not WeightedAggregator.forward
        if own_forward or self._forward_hooks or self._forward_pre_hooks:
            return self.aggregate_whole(blocks)
        return self._combine(JacobianBlocks(blocks))

    def aggregate_whole(self, blocks: Sequence[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate by a call with the whole Jacobian, through the hooks of the aggregator.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :returns: The parts of the aggregation, and the weights, of shape ``[m]``.
        """
        seen: list[Tensor] = []
        handle = self.weighting.register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            parts, _ = super().aggregate_whole(blocks)
        finally:
            handle.remove()
        return parts, self._reported(seen[-1], JacobianBlocks(blocks)) if seen else None

    def _combine(self, jacobian: JacobianBlocks) -> tuple[list[Tensor], Tensor]:
        weights = check_weights(self._weigh(jacobian), jacobian.m, self.weighting).detach()
        return jacobian.combine(weights), self._reported(weights, jacobian)

    @staticmethod
    def _reported(weights: Tensor, jacobian: JacobianBlocks) -> Tensor:
        return weights.detach().to(torch.promote_types(jacobian.dtype, torch.float32))

    def _weigh(self, jacobian: JacobianBlocks) -> Tensor:
        if self.weighting.needs == "gramian":
            return self.weighting(jacobian.gramian())
        if self.weighting.needs == "row count":
            return self.weighting(jacobian.blocks[0].detach()[:, :0])
        return self.weighting(jacobian.matrix().detach())


class GramianWeightedAggregator(WeightedAggregator):
    r"""Aggregate as :math:`w^\top J`, with weights from the Gramian :math:`J J^\top`.

    :param gramian_weighting: What gives the weights.
    :raises TypeError: If ``gramian_weighting`` does not work from a Gramian.

    >>> import torch
    >>> from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting
    >>> class InverseSquare(GramianWeighting):
    ...     def forward(self, gramian, /):
    ...         return 1.0 / gramian.diagonal()
    >>> GramianWeightedAggregator(InverseSquare())(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([0.5000, 0.2500])
    """

    def __init__(self, gramian_weighting: Weighting[PSDMatrix]) -> None:
        if not isinstance(gramian_weighting, Weighting) or gramian_weighting.needs == "jacobian":
            found = type(gramian_weighting).__name__
            raise TypeError(
                f"`gramian_weighting` must be a GramianWeighting. Got {found}. "
                "A weighting that reads the Jacobian belongs in a WeightedAggregator."
            )
        super().__init__(gramian_weighting)

    @property
    def gramian_weighting(self) -> Weighting[PSDMatrix]:
        """The weighting that works from the Gramian."""
        return self.weighting
