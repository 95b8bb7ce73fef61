"""The gradients of the tasks' own parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchjd._autograd._gradients import Commit, add_to_grads, own, total

from ._scaling import RowScaling, finite_rows


class Heads:
    """Gradients of the tasks' own parameters; those of a parameter of several tasks add up.

    :param scaling: By what the cotangents of the losses were scaled; None for 1.
    """

    def __init__(self, scaling: RowScaling | None) -> None:
        self._scaling = scaling
        self._totals: dict[int, tuple[Tensor, Tensor]] = {}
        self._finite: dict[int, list[Tensor]] = {}

    @torch.no_grad()
    def add(self, task: int, params: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        """Add the gradients of one loss, divided by its scale."""
        for param, found in zip(params, grads, strict=True):
            if found is None:
                continue
            grad = found
            if self._scaling is not None:
                grad = self._scaling.divide(found, task)
                self._finite.setdefault(task, []).append(_is_finite(grad))
            known = self._totals.get(id(param))
            so_far = own(grad) if known is None else total(known[1], grad)
            self._totals[id(param)] = (param, so_far)

    def commit(self) -> Commit:
        """Return what adds the gradients to the ``.grad`` of the parameters."""
        pairs = self._totals.values()
        return add_to_grads([param for param, _ in pairs], [grad for _, grad in pairs])

    def finite_with(self, jacobians: Sequence[Tensor]) -> Tensor | None:
        """Return whether all of a task's is finite: its row and its gradients, of shape ``[m]``.

        :param jacobians: Of the shared parameters.
        :returns: None without scales: then nobody asks.
        """
        if self._scaling is None:
            return None
        scales = self._scaling.scales
        rows = finite_rows(jacobians) if jacobians else torch.ones_like(scales, dtype=torch.bool)
        device = rows.device
        for task, flags in self._finite.items():
            rows[task] &= torch.stack([flag.to(device) for flag in flags]).all()
        return rows


def _is_finite(grad: Tensor) -> Tensor:
    dense = grad if grad.layout == torch.strided else grad.coalesce().values()
    return finite_rows([dense[None]])[0]
