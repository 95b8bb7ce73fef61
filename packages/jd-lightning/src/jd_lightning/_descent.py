"""From the results of `objectives` to `.grad`, within the hooks of Lightning."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from jd_amp import drop_nonfinite_grads, jac_to_grad
from torchjd.aggregation import Aggregator, Weighting

from ._configured import as_aggregator, as_weighting
from ._differentiate import descend_samples, differentiate
from ._joint import find
from ._objectives import Objectives
from ._parameters import drop_jacobians, trained, with_jacobian
from ._pending import FitStep, Pending
from ._strategies import refuse_multi_process
from ._window import Window


class Descent:
    """What a module does to its objectives while it is trained.

    :param module: Attached to a trainer, whenever a method is called.
    :param method: From whether the objectives are losses of samples to what combines them.
    :ivar skipped: How many steps were left out for gradients that are not finite.
    """

    def __init__(
        self, module: LightningModule, method: Callable[[bool], Aggregator | Weighting[Any]]
    ) -> None:
        self.skipped = 0
        self._module = module
        self._method = method
        self._pending = Pending()
        self._window: Window | None = None
        self._in_closure = False

    def expect(self) -> None:
        """Take note that a result of ``objectives`` is to come back.

        :raises RuntimeError: If another one is, in automatic optimisation.
        """
        trainer = self._module.trainer
        if self._module.automatic_optimization and self._pending.count(trainer):
            raise RuntimeError(
                "`objectives` must be called once in a training step. Got a second call. Pass all "
                "losses to one call; several updates a step need manual optimisation."
            )
        self._pending.add(trainer)

    def backward(self, loss: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Differentiate the objectives that ``loss`` stands for; return whether there are any.

        :raises RuntimeError: If it stands for something else beside, or should for some; if no
            step follows that aggregates; or if there are several processes.
        :raises TypeError: If an argument is given other than ``retain_graph``.
        """
        found = self._take(loss)
        if found is None:
            return False
        refuse_multi_process(self._module.trainer.strategy)
        retain_graph = _only_retain_graph(args, kwargs)
        # In manual optimisation, the training step, and autocast with it, are still under way.
        with torch.autocast(self._module.device.type, enabled=False):
            if self._module.automatic_optimization:
                self._refuse_unwrapped_step()
                self._add_to_window(*found, retain_graph)
                if self._in_closure:  # a step follows; hooks before it read `.grad`
                    self._aggregate_window()
            else:
                self._aggregate_at_once(*found, retain_graph)
        return True

    def wrap(
        self, optimizer: Optimizer | LightningOptimizer, closure: Callable[[], Any] | None
    ) -> Callable[[], Any]:
        """Return ``closure``, with the aggregation.

        That is at the end of the backward pass of the last micro-batch, so that
        ``on_after_backward`` finds ``.grad`` as in Lightning; or after that micro-batch, if it has
        no objectives. An optimizer may call it several times.
        """

        def wrapped() -> Any:
            self._in_closure = True
            try:
                result = None if closure is None else closure()
                self._close_window(optimizer, skipped=result is None)
            except BaseException:
                self.clear()
                raise
            finally:
                self._in_closure = False
            return result

        return wrapped

    def clear(self) -> None:
        """Forget what has accumulated."""
        self._window = None
        drop_jacobians(self._parameters())

    def _take(self, loss: Tensor) -> tuple[Objectives, Tensor] | None:
        """Return the objectives that ``loss`` stands for, and by what they are scaled."""
        # Without any pending, the graph of an ordinary loss is not searched.
        if not self._pending.count(self._module.trainer):
            return None
        found = find(loss)
        if found is not None:
            self._pending.take()
        elif self._module.automatic_optimization:
            raise RuntimeError(
                "`training_step` must return the result of `objectives` once it has called it. Got "
                "a loss that does not depend on it. Return that result, or call `objectives` only "
                "in steps that do."
            )
        return found

    def _refuse_unwrapped_step(self) -> None:
        """Refuse an ``optimizer_step`` that leaves out the aggregation."""
        trainer = self._module.trainer
        seen = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if seen % trainer.accumulate_grad_batches == 0 and not self._in_closure:
            raise RuntimeError(
                f"`optimizer_step` of `{type(self._module).__name__}` must call "
                "`super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)`, which "
                "aggregates the objectives. Got an override that calls the optimizer itself."
            )

    def _add_to_window(self, objectives: Objectives, factor: Tensor, retain_graph: bool) -> None:
        """Add a micro-batch to what is aggregated before the next step."""
        step = FitStep(self._module.trainer)
        if self._window is None or not self._window.start.same_fit(step):
            # Nothing of this fit is there yet: what is comes from one that was aborted.
            drop_jacobians(self._parameters())
            self._window = Window(step)
        self._window.add(objectives)
        self._differentiate(objectives, factor, retain_graph)

    def _aggregate_at_once(
        self, objectives: Objectives, factor: Tensor, retain_graph: bool
    ) -> None:
        drop_jacobians(self._parameters())
        try:
            self._differentiate(objectives, factor, retain_graph)
            if not objectives.per_sample:
                self._aggregate(objectives.values())
        finally:
            drop_jacobians(self._parameters())

    def _differentiate(self, objectives: Objectives, factor: Tensor, retain_graph: bool) -> None:
        if not objectives.per_sample:
            differentiate(objectives, factor, self._scaler(), retain_graph=retain_graph)
            return
        descend_samples(
            self._trained(),
            objectives,
            factor,
            as_weighting(self._method(True)),
            self._scaler(),
            micro_batches=self._module.trainer.accumulate_grad_batches,
            retain_graph=retain_graph,
        )

    def _aggregate(self, values: Tensor) -> None:
        # What no optimizer steps stays as it is, and has no say in how the others move.
        shared = with_jacobian(self._trained())
        if not shared:
            return  # the losses have nothing in common that is trained: a frozen trunk, for one
        aggregator = as_aggregator(self._method(False))
        losses = values if aggregator.needs_losses else None
        jac_to_grad(shared, aggregator, scaler=self._scaler(), losses=losses)

    def _aggregate_window(self) -> None:
        """Aggregate what the micro-batches left in ``.jac``, if anything."""
        if self._window is not None and self._window.values:
            values = self._window.mean_values()
            self._window.values.clear()
            self._aggregate(values)
            drop_jacobians(self._parameters())

    def _close_window(self, optimizer: Optimizer | LightningOptimizer, *, skipped: bool) -> None:
        """Aggregate what is left in ``.jac``, and leave out a step that is not finite.

        :param skipped: Whether the last of them returned None.
        """
        if self._window is None:
            return
        if skipped and self._scaler() is not None:
            self.clear()  # no step follows; without a scaler, one does
            return
        with torch.autocast(self._module.device.type, enabled=False):
            self._aggregate_window()
        self._window = None
        if self._scaler() is None and "16" in str(self._module.trainer.precision):
            self._skip_nonfinite(optimizer)

    def _skip_nonfinite(self, optimizer: Optimizer | LightningOptimizer) -> None:
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        if not drop_nonfinite_grads(optimizer):
            return
        if self.skipped == 0:
            warnings.warn(
                "A step was skipped: its Jacobian, or a gradient, is not finite. `skipped_steps` "
                "counts them; this is not said again.",
                stacklevel=2,
            )
        self.skipped += 1

    def _scaler(self) -> GradScaler | None:
        return getattr(self._module.trainer.precision_plugin, "scaler", None)

    def _trained(self) -> list[Tensor]:
        return trained(self._module.trainer.optimizers)

    def _parameters(self) -> list[Tensor]:
        """Return what may hold a ``.jac``: all parameters, and what else is trained."""
        return [*self._module.parameters(), *self._trained()]


def _only_retain_graph(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return ``retain_graph``; refuse other arguments of a backward pass."""
    others = [repr(arg) for arg in args] + [k for k in kwargs if k != "retain_graph"]
    if others:
        raise TypeError(
            "`backward` of the result of `objectives` must be given no argument other than "
            f"`retain_graph`. Got {', '.join(others)}."
        )
    return bool(kwargs.get("retain_graph"))
