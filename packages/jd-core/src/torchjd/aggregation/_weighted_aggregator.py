"""Aggregators that weigh the rows: from the weights of a weighting to their sum."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from torchjd.linalg import Matrix, PSDMatrix
from torchjd.linalg._blocks import JacobianBlocks

from ._aggregator import Aggregator
from ._inputs import Losses, Needs, extra_inputs
from ._observed_calls import show_combination
from ._observers import OBSERVED, is_observed
from ._weighting import Weighting, check_weights

# Weights that solve for what the rows have in common may be large, and cancel one another. Those of
# a method that never sees a Gramian are not, and a wrapper, whose `needs` is that of what it wraps
# at the time, is none of these.
_MODERATE = ("row count", "cross gramian", "jacobian")
# Up to which sum of the lengths of the weighted rows, over the longest row, float32 keeps 6 digits
# of that length in the result.
_CANCELS = 16.0


class WeightedAggregator(Aggregator, shows_itself=True):
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

    @property
    def needs(self) -> Needs:
        """What the weighting reads."""
        return self.weighting.needs

    @property
    def needs_losses(self) -> bool:
        """Whether the weighting reads the values of the objectives."""
        return self.weighting.needs_losses

    @property
    def degree(self) -> float | None:
        """One more than that of the weights."""
        degree = self.weighting.degree
        return None if degree is None else degree + 1

    def forward(
        self,
        matrix: Matrix,
        /,
        *,
        losses: Losses | None = None,
        cross_gramian: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted sum of the rows of ``matrix``, of shape ``[n]``."""
        return self._combine(JacobianBlocks([matrix]), losses, cross_gramian)[0][0]

    def _extra(
        self, m: int, losses: Losses | None, cross_gramian: Tensor | None
    ) -> Mapping[str, Any]:
        # What is missing is named once the weighting is at hand: looking it up takes as long as a
        # small sum of rows.
        if losses is None and cross_gramian is None:
            return {}
        return extra_inputs(self.weighting, m, losses, cross_gramian)

    def _is_weighted_sum(self) -> bool:
        own_forward = type(self).forward is not WeightedAggregator.forward
        return not (own_forward or self._forward_hooks or self._forward_pre_hooks)

    def aggregate_blocks(
        self,
        blocks: Sequence[Tensor],
        *,
        losses: Losses | None = None,
        cross_gramian: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate block by block: no tensor of the size of the Jacobian is made.

        A subclass that aggregates in its own way, and a hook on the aggregator, see one matrix.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :param losses: As for a call.
        :param cross_gramian: As for a call.
        :returns: The parts of the aggregation, and the weights, of shape ``[m]``.
        """
        if not self._is_weighted_sum():
            return self.aggregate_whole(blocks, losses=losses, cross_gramian=cross_gramian)
        jacobian = JacobianBlocks(blocks)
        parts, weights = self._combine(jacobian, losses, cross_gramian)
        return parts, _reported(weights, jacobian)

    def aggregate_whole(
        self,
        blocks: Sequence[Tensor],
        *,
        losses: Losses | None = None,
        cross_gramian: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor | None]:
        """Aggregate by a call with the whole Jacobian, through the hooks of the aggregator.

        :param blocks: Tensors of shape ``[m, n_1], ..., [m, n_p]``.
        :param losses: As for a call.
        :param cross_gramian: As for a call.
        :returns: The parts of the aggregation, and the weights, of shape ``[m]``.
        """
        seen: list[Tensor] = []
        is_scaled = _is_scaled(self.weighting)  # before the call, as it is when that begins
        handle = self.weighting.register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            parts, _ = super().aggregate_whole(blocks, losses=losses, cross_gramian=cross_gramian)
        finally:
            handle.remove()
        jacobian = JacobianBlocks(blocks)
        if not seen:
            return parts, None
        scale = jacobian.scale() if is_scaled else None
        return parts, _reported(_of_scale(seen[-1], scale, self.weighting), jacobian)

    def _combine(
        self, jacobian: JacobianBlocks, losses: Losses | None, cross_gramian: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        # `self.weighting` takes ten times as long, by the attribute lookup of modules.
        weighting = cast("Weighting[Any]", self._modules["weighting"])
        extra = extra_inputs(weighting, jacobian.m, losses, cross_gramian)
        gramian, scale, weights = _weigh(weighting, jacobian, extra)
        if OBSERVED.in_use and is_observed(self):
            show_combination(self, jacobian, gramian, scale, weights, extra.get("losses"))
        declared: Any = type(weighting).needs
        exactly = declared not in _MODERATE and _may_cancel(weights, gramian, jacobian)
        return jacobian.combine(weights, exactly=exactly), weights

    def extra_repr(self) -> str:
        """Return what differs from a method to the other: the parameters of the weighting."""
        is_method = type(self).__module__.rpartition(".")[0] != __package__
        return self.weighting.extra_repr() if is_method else repr(self.weighting)


def _weigh(
    weighting: Weighting[Any], jacobian: JacobianBlocks, extra: Mapping[str, Tensor]
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Return the Gramian over the scale squared, if that is weighed, the scale, and the weights."""
    needs = weighting.needs
    if needs == "gramian":
        return _weigh_gramian(weighting, jacobian, extra)
    if needs == "cross gramian":
        stat = extra["cross_gramian"]
    else:  # the rows of the first block are as many as those of the whole
        stat = (jacobian.blocks[0] if needs == "row count" else jacobian.matrix()).detach()
    found = weighting(stat, losses=extra.get("losses"))
    return None, None, check_weights(found, jacobian.m, weighting).detach()


def _weigh_gramian(
    weighting: Weighting[Any], jacobian: JacobianBlocks, extra: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor | None, Tensor]:
    is_scaled = _is_scaled(weighting)
    scale = jacobian.scale() if is_scaled else None
    gramian = jacobian.gramian(scale)
    weights = check_weights(weighting(gramian, **extra), jacobian.m, weighting).detach()
    if is_scaled:
        return gramian, scale, _of_scale(weights, scale, weighting)
    # What a weighting makes of squares beyond the range of the dtype may look finite.
    return gramian, None, torch.where(torch.isfinite(gramian).all(), weights, torch.nan)


def _may_cancel(weights: Tensor, gramian: Tensor | None, jacobian: JacobianBlocks) -> bool:
    """Return whether the weighted rows are long enough for their sum to need more digits.

    It takes a look at the weights, so only on the CPU, and where that is less than what it saves.
    """
    if gramian is None or gramian.device.type != "cpu" or jacobian.is_small():
        return True
    lengths = gramian.diagonal().clamp_min(0.0).sqrt()
    return not bool(weights.abs().to(lengths) @ lengths <= _CANCELS * lengths.amax())


def _is_scaled(weighting: Weighting[Any]) -> bool:
    """Return whether the weights of a scaled Jacobian tell those of the Jacobian itself."""
    return weighting.needs == "gramian" and weighting.degree is not None


def _of_scale(weights: Tensor, scale: Tensor | None, weighting: Weighting[Any]) -> Tensor:
    """Return the weights of the Jacobian, from those of the Jacobian over ``scale``."""
    degree = weighting.degree
    return weights * scale**degree if scale is not None and degree else weights


def _reported(weights: Tensor, jacobian: JacobianBlocks) -> Tensor:
    """Return the weights as users get them: of the dtype of the Jacobian, and at least float32."""
    return weights.detach().to(torch.promote_types(jacobian.dtype, torch.float32))
