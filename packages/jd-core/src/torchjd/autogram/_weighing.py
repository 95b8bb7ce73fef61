"""Calls of a weighting with what it declares that it needs, and no more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation._inputs import Needs, as_cross_gramian, require_inputs


@dataclass(frozen=True)
class Weigher:
    """A weighting, or any callable from a Gramian to weights.

    :ivar weighting: What is called.
    :ivar needs: What it reads.
    :ivar needs_losses: Whether it is given the losses.
    :ivar cross_gramian: What it reads in place of the Gramian, if it does.
    """

    weighting: Callable[..., Tensor]
    needs: Needs
    needs_losses: bool
    cross_gramian: Tensor | None

    @property
    def reads_gramian(self) -> bool:
        """Whether the Gramian has to be computed."""
        return self.needs == "gramian"

    def __call__(self, stat: Tensor, output: Tensor) -> Tensor:
        """Return the weights for ``stat``, of losses ``output``."""
        if self.needs_losses:
            return self.weighting(stat, losses=output.detach())
        return self.weighting(stat)

    def without_gramian(self, output: Tensor) -> Tensor:
        """Return the weights of a weighting that does not read the Gramian."""
        m = output.numel()
        if self.needs == "cross gramian":
            # Before the call: a weighting that remembers would remember what does not fit.
            stat = as_cross_gramian(self.cross_gramian, m, type(self.weighting).__name__)
        else:
            stat = output.new_empty(m, 0, dtype=_at_least_float32(output))
        weights = self(stat, output)
        is_vector = isinstance(weights, Tensor) and weights.shape == (m,)
        return weights.view(output.shape) if is_vector else weights


def as_weigher(weighting: Callable[[Tensor], Tensor], cross_gramian: Tensor | None) -> Weigher:
    """Return how ``weighting`` is called.

    :param weighting: A weighting, or any callable from a Gramian to weights.
    :param cross_gramian: The Gramian across two batches, if there is one.
    :raises TypeError: If ``weighting`` reads the latter, and it is missing; or if it reads the
        whole Jacobian.
    """
    # Not by its class: what `torch.compile` returns declares the same as what it is given.
    declared: Any = weighting
    if not (hasattr(declared, "needs") and hasattr(declared, "needs_losses")):
        return Weigher(weighting, "gramian", False, None)
    if declared.needs == "jacobian":
        raise TypeError(
            "`weighting` must work from a Gramian. Got "
            f"{type(weighting).__name__}, which reads the whole Jacobian. Use it in an aggregator, "
            "with `torchjd.backward`."
        )
    require_inputs(declared, losses=True, cross_gramian=cross_gramian is not None)
    return Weigher(weighting, declared.needs, declared.needs_losses, cross_gramian)


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
