"""A gradient scaler with a scale for each objective."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from torchjd import autojac

from ._objective_scales import ObjectiveScales
from ._poison import poison
from ._rows import listed, number_of_rows, tensors_of


class JacobianScaler(GradScaler):
    r"""Scale each objective by itself, so that half precision holds the gradients of all of them.

    One scale for all has to be small enough for the objective with the longest gradient, and that
    of another one may then vanish in float16. Here objective :math:`i` has a scale :math:`s_i` of
    its own: its cotangent goes into the backward pass multiplied by it, and what comes out is
    divided by it, inside :meth:`backward` and :meth:`mtl_backward`. The ``.jac`` and the ``.grad``
    of the heads are thus not scaled. What overflows lowers the scale of its objective alone.

    It takes the place of a ``torch.amp.GradScaler``: ``unscale_``, ``step`` and ``update`` are
    called as there, and nothing is divided twice, since the scale of the base class is held at 1.
    For the same reason ``scale`` changes no value: call :meth:`backward` or :meth:`mtl_backward` in
    place of ``scaler.scale(loss).backward()``, and :func:`jac_to_grad` with this scaler.

    :param device: The type of the device, ``"cuda"`` or ``"cpu"``.
    :param init_scale: The scale that each objective begins with.
    :param growth_factor: What a scale is multiplied by after ``growth_interval`` updates in a row
        without an overflow of its objective.
    :param backoff_factor: What a scale is multiplied by in the update after an overflow.
    :param growth_interval: How many updates that is.
    :param enabled: Whether anything is scaled, or skipped.
    :raises ValueError: If ``init_scale`` is not positive and finite.

    >>> import torch, jd_amp
    >>> from torchjd.aggregation import UPGrad
    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> scaler = jd_amp.JacobianScaler("cpu", init_scale=1024.0)
    >>> with torch.autocast("cpu", dtype=torch.float16):
    ...     losses = model(torch.ones(4, 3)).square().mean(dim=0)
    >>> scaler.backward(losses)
    >>> weights = jd_amp.jac_to_grad(model.parameters(), UPGrad(), scaler=scaler)
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> scaler.scales()
    tensor([1024., 1024.])
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        super().__init__(device, 1.0, growth_factor, backoff_factor, growth_interval, enabled)
        self._device_type = device
        self._objectives = ObjectiveScales(init_scale)
        # How many passes there have been since the last update; for each optimizer that has been
        # looked at since then, how many there had been; and whether a loss was handed to `scale`.
        self._passes = 0
        self._looked_after: dict[int, int] = {}
        self._scaled_plainly = False
        self._warned = False

    def backward(
        self,
        tensors: Tensor | Iterable[Tensor],
        /,
        *,
        jac_tensors: Tensor | Iterable[Tensor] | None = None,
        inputs: Tensor | Iterable[Tensor] | None = None,
        retain_graph: bool = False,
        parallel_chunk_size: int | None = None,
    ) -> None:
        """Call :func:`torchjd.autojac.backward` with the scale of each row.

        :param tensors: As there, and so are the other parameters.
        :raises TypeError: As there; or if an input is of float16.
        :raises ValueError: As there; or if the number of rows is not that of an earlier pass.
        :raises RuntimeError: As there.
        """
        outputs = listed(tensors)
        cotangents = listed(jac_tensors)
        scales = self._scales_for(number_of_rows(outputs, cotangents), outputs, "tensors")
        finite = autojac.backward(
            outputs,
            jac_tensors=cotangents,
            inputs=inputs,
            retain_graph=retain_graph,
            parallel_chunk_size=parallel_chunk_size,
            row_scales=scales,
        )
        self._record(scales, finite)

    def mtl_backward(
        self,
        losses: Iterable[Tensor] | None = None,
        features: Tensor | Iterable[Tensor] | None = None,
        *,
        tensors: Iterable[Tensor] | None = None,
        grad_tensors: Iterable[Tensor] | None = None,
        tasks_params: Iterable[Iterable[Tensor]] | None = None,
        shared_params: Iterable[Tensor] | None = None,
        retain_graph: bool = False,
        parallel_chunk_size: int | None = None,
    ) -> None:
        """Call :func:`torchjd.autojac.mtl_backward` with the scale of each loss.

        :param losses: As there, and so are the other parameters.
        :raises TypeError: As there; or if a parameter is of float16.
        :raises ValueError: As there; or if the number of losses is not that of an earlier pass.
        :raises RuntimeError: As there.
        """
        first, other = listed(losses), listed(tensors)
        outputs, name = (other, "tensors") if first is None else (first, "losses")
        scales = self._scales_for(len(tensors_of(outputs)), outputs, name)
        finite = autojac.mtl_backward(
            first,
            features,
            tensors=other,
            grad_tensors=grad_tensors,
            tasks_params=tasks_params,
            shared_params=shared_params,
            retain_graph=retain_graph,
            parallel_chunk_size=parallel_chunk_size,
            row_scales=scales,
        )
        self._record(scales, finite)

    def scales(self) -> Tensor | None:
        """Return the scale of each objective, of shape ``[m]``; None before the first pass."""
        values = self._objectives.values if self.is_enabled() else None
        return None if values is None else values.clone()

    def overflowed(self) -> Tensor | None:
        """Return for each objective whether it has overflowed since the last update.

        :returns: A bool tensor of shape ``[m]``; None if there was no pass.
        """
        found = self._objectives.overflowed if self.is_enabled() else None
        return None if found is None else found.clone()

    def scale(self, outputs: Any) -> Any:
        """Return ``outputs`` with the values that they have; :meth:`backward` scales objectives."""
        self._scaled_plainly = True
        return super().scale(outputs)

    def unscale_(self, optimizer: Optimizer) -> None:
        """Look for gradients of ``optimizer`` that are not finite; they are not scaled.

        If an objective has overflowed, an element of them becomes NaN, so that all is skipped.

        :param optimizer: Whose gradients.
        :raises RuntimeError: If that was done since the last update.
        """
        if self.is_enabled():
            self._require_use("unscale_")
            self._look_at(optimizer)
        super().unscale_(optimizer)

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> float | None:
        """Call ``optimizer.step``, unless an objective has overflowed since the last update.

        :param optimizer: Whose step; it is skipped as well if a gradient of it is not finite.
        :param args: Passed on.
        :param kwargs: Passed on.
        :returns: What ``optimizer.step`` returned; None for a step that was skipped.
        :raises RuntimeError: If there was no step to take: no pass, or a second step.
        """
        if not self.is_enabled():
            return super().step(optimizer, *args, **kwargs)
        self._require_use("step")
        if id(optimizer) not in self._looked_after:
            self._look_at(optimizer)
        if self._looked_after[id(optimizer)] != self._passes:
            found = self._objectives.any_overflowed()
            if found is not None and found:
                return None
        return super().step(optimizer, *args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Let the scale of each objective follow what has happened since the last update.

        :param new_scale: What every scale becomes instead: a number, or a tensor of one element.
        :raises TypeError: If ``new_scale`` is neither.
        :raises ValueError: If ``new_scale`` is not positive and finite.
        :raises RuntimeError: If the scaler was not used at all.
        """
        if not self.is_enabled():
            return
        if new_scale is None:
            self._require_use("update")
            self._warn_if_idle()
            self._objectives.update(
                self.get_growth_factor(), self.get_backoff_factor(), self.get_growth_interval()
            )
        else:
            self._objectives.set_all(new_scale)
        self._hold_at_one()
        super().update(1.0)
        self._passes, self._scaled_plainly = 0, False
        self._looked_after.clear()

    def get_scale(self) -> float:
        """Return the smallest of the scales, 1 if nothing is scaled; it is read on the host.

        Nothing is to be divided by it, since ``scale`` multiplies by 1. And it is no sign that a
        step was skipped: it does not fall where another objective overflowed. Ask
        ``scaler.overflowed().any()``, before ``update``.
        """
        return self._objectives.smallest() if self.is_enabled() else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Return the state: that of a stock scaler, for the smallest scale, and all the scales."""
        if not self.is_enabled():
            return {}
        return {
            "growth_factor": self.get_growth_factor(),
            "backoff_factor": self.get_backoff_factor(),
            "growth_interval": self.get_growth_interval(),
            **self._objectives.state(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``, as saved by a scaler of this class or by a stock one.

        The scale of a stock one becomes that of each objective.

        :param state_dict: What ``state_dict`` of either returned.
        :raises RuntimeError: If it is empty, as that of a scaler that is not enabled.
        :raises ValueError: If the scale of a stock one has gone down to zero.
        """
        if not self.is_enabled():
            return
        # What is the base class's own goes there; its scale stays at 1.
        stock = {**state_dict, "scale": 1.0, "_growth_tracker": 0} if state_dict else {}
        super().load_state_dict(stock)
        self._objectives.load(state_dict)

    def __reduce__(self) -> tuple[Any, ...]:
        super().__getstate__()  # refuses in the midst of an iteration
        settings = (
            self._device_type,
            1.0,
            self.get_growth_factor() if self.is_enabled() else 2.0,
            self.get_backoff_factor() if self.is_enabled() else 0.5,
            self.get_growth_interval() if self.is_enabled() else 2000,
            self.is_enabled(),
        )
        # The base class makes its own part anew, in a way that holds its scale at 1.
        stock = vars(GradScaler(*settings))
        own = {name: value for name, value in vars(self).items() if name not in stock}
        return _restored, (type(self), settings), own

    def _scales_for(self, m: int, outputs: Any, name: str) -> Tensor | None:
        if not self.is_enabled():
            return None
        if m == 0:  # refused by what comes next, which says why
            return torch.ones(0)
        return self._objectives.for_pass(m, tensors_of(outputs)[0].device, name)

    def _record(self, scales: Tensor | None, finite: Tensor | None) -> None:
        if scales is not None and finite is not None:
            self._objectives.record(scales, finite)
            self._passes += 1

    def _look_at(self, optimizer: Optimizer) -> None:
        """Make a gradient NaN if an objective has overflowed.

        The base class then finds it and skips, without a look at it on the host by this one.
        """
        found = self._objectives.any_overflowed()
        told = found is None or poison(optimizer, found)
        # Where no gradient could tell, and after later passes, `step` has to look.
        self._looked_after[id(optimizer)] = self._passes if told else -1

    def _hold_at_one(self) -> None:
        """Let the base class make its scale, of 1, as it does when it first scales something."""
        values = self._objectives.values
        device = torch.device(self._device_type) if values is None else values.device
        super().scale(torch.ones((), device=device))

    def _require_use(self, method: str) -> None:
        if not self._passes and not self._scaled_plainly:
            raise RuntimeError(
                f"`{method}` must be called after `backward` or `mtl_backward` of this scaler, "
                "since the last `update`. Got no such call. Replace those of `torchjd.autojac` by "
                "them: they scale each objective by itself."
            )
        self._hold_at_one()

    def _warn_if_idle(self) -> None:
        if self._passes or self._warned:
            return
        self._warned = True
        warnings.warn(
            "Nothing was scaled since the last `update`: a JacobianScaler scales objectives inside "
            "its methods `backward` and `mtl_backward`, and `scale` changes no value. Call one of "
            "them, or use a torch.amp.GradScaler, which has one scale for all.",
            UserWarning,
            stacklevel=3,
        )


def _restored(cls: type[JacobianScaler], settings: tuple[Any, ...]) -> JacobianScaler:
    """Return a scaler of which the base class alone is made."""
    scaler = cls.__new__(cls)
    GradScaler.__init__(scaler, *settings)
    return scaler
