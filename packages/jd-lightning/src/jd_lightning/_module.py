"""The LightningModule that descends several objectives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer

from torchjd.aggregation import Aggregator, Weighting

from ._configured import as_aggregator, as_weighting
from ._descent import Descent
from ._joint import join
from ._objectives import as_objectives
from ._resolve import register
from ._strategies import refuse_multi_process
from ._uncompiled import uncompiled


class JDModule(LightningModule):
    r"""A LightningModule whose training step may return several objectives.

    ``training_step`` returns ``self.objectives(losses)``, and Lightning does the rest, as for a
    single loss: precision, accumulation, clipping, the optimizer, schedulers, logging, checkpoints.
    With :math:`J` the Jacobian of the m losses with respect to the n parameters that they share,
    averaged over the batches that accumulate, and :math:`\mathcal{A}` what
    :meth:`configure_aggregator` returns, these parameters get the gradient
    :math:`\mathcal{A}(J) \in \mathbb{R}^n`, before it is unscaled and clipped; a parameter that one
    loss alone depends on gets the gradient of that loss.

    One tensor with a loss for each sample is descended through the Gramian engine instead: each
    batch by itself, and the results averaged where batches accumulate.

    A training step that returns a loss of its own, or None, does what it does in Lightning.

    In manual optimisation, ``self.manual_backward(self.objectives(losses))`` aggregates at once.

    >>> import torch
    >>> from jd_lightning import JDModule
    >>> from torchjd.aggregation import UPGrad
    >>> class TwoHeads(JDModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.trunk = torch.nn.Linear(3, 4)
    ...         self.heads = torch.nn.ModuleList([torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)])
    ...
    ...     def configure_aggregator(self):
    ...         return UPGrad()
    ...
    ...     def training_step(self, batch):
    ...         inputs, *targets = batch
    ...         features = self.trunk(inputs)
    ...         first, second = [
    ...             (head(features) - target).square().mean()
    ...             for head, target in zip(self.heads, targets)
    ...         ]
    ...         return self.objectives({"first": first, "second": second})
    ...
    ...     def configure_optimizers(self):
    ...         return torch.optim.SGD(self.parameters(), lr=0.1)
    >>> model = TwoHeads()
    >>> model.training_step([torch.ones(2, 3), torch.ones(2, 1), torch.zeros(2, 1)]).shape
    torch.Size([])
    >>> model.objective_names
    ('first', 'second')
    """

    # Of the class, not set by a constructor: one of several bases cannot count on its being called.
    # Private names begin as few of a user's own will.
    _jd_path: str | None = None  # of the configured method among the submodules
    _jd_names: tuple[str, ...] = ()
    _jd_per_sample: bool | None = None  # None before the first call of `objectives`
    _jd_descent: Descent | None = None

    def configure_aggregator(self) -> Aggregator | Weighting[Any]:
        """Return what combines the objectives; override it. Called once.

        Its state is part of the module's. If it is no submodule yet, it becomes one.

        :returns: An aggregator; for losses of samples, a weighting that works from the Gramian, or
            a :class:`~torchjd.aggregation.GramianWeightedAggregator`.
        :raises NotImplementedError: If it is not overridden.

        >>> from jd_lightning import JDModule
        >>> from torchjd.aggregation import UPGrad
        >>> class Net(JDModule):
        ...     def configure_aggregator(self):
        ...         return UPGrad()
        """
        raise NotImplementedError(
            f"`{type(self).__name__}` must define `configure_aggregator`, which says how the "
            "objectives are combined. Got none. For instance:\n\n"
            "    def configure_aggregator(self):\n"
            "        return UPGrad()  # from torchjd.aggregation import UPGrad"
        )

    # Compiled with a training step, it would be compiled anew for each batch, which it counts.
    @uncompiled
    def objectives(
        self,
        losses: Mapping[str, Tensor] | Sequence[Tensor] | Tensor,
        *,
        features: Tensor | Iterable[Tensor] | None = None,
    ) -> Tensor:
        r"""Return the scalar that stands for the objectives, to return from ``training_step``.

        Its value is the mean of the losses. It may be multiplied by a number :math:`c`, which
        scales the Jacobian: the rows are :math:`c \, \partial \ell_i / \partial \theta`.

        :param losses: Scalars :math:`\ell_1, \dots, \ell_m`, with or without names; or one tensor
            with a loss for each sample, of shape ``[B]`` or ``[B, tasks]``.
        :param features: What the losses share, as in :func:`torchjd.autojac.mtl_backward`. Default:
            found from the graph.
        :raises TypeError: If ``losses`` are not tensors of real floating dtypes, or what
            ``configure_aggregator`` returns does not fit them.
        :raises ValueError: If there is no loss, or one has a wrong shape or does not require grad.
        :raises RuntimeError: If it is called twice in a training step, or under Fabric.

        >>> import torch
        >>> from jd_lightning import JDModule
        >>> weight = torch.ones(2, requires_grad=True)
        >>> JDModule().objectives([weight.sum(), weight.prod()]).item()
        1.5
        """
        objectives = as_objectives(losses, features)
        if self.fabric is not None:
            raise RuntimeError(
                "`objectives` needs the Trainer of Lightning. Got a module set up by Fabric, which "
                "runs its own backward pass. Call `torchjd.autojac.mtl_backward` and `jac_to_grad` "
                "in the loop instead."
            )
        self._jd_names = objectives.names
        self._jd_per_sample = objectives.per_sample
        # Outside a fit, such as in validation or in a test of one's own, it is only a number; and
        # without gradients, wherever that is.
        if torch.is_grad_enabled() and self._jd_is_fitting():
            self._jd_method(objectives.per_sample)  # refused here, where the user made the choice
            self._jd_ensure_descent().expect()
        return join(objectives)

    @property
    def objective_names(self) -> tuple[str, ...]:
        """The names of the objectives of the last call of :meth:`objectives`.

        Of a sequence, they are numbered; of the losses of samples, there are none.
        """
        return self._jd_names

    @property
    def aggregator_in_use(self) -> Aggregator | Weighting[Any] | None:
        """What combines the objectives of the last call of :meth:`objectives`.

        What is attached to it sees a Jacobian, or a Gramian, without the scale of a gradient
        scaler. None before the first call.
        """
        return None if self._jd_per_sample is None else self._jd_method(self._jd_per_sample)

    @property
    def skipped_steps(self) -> int:
        """How many steps were left out for gradients that are not finite, without a scaler."""
        return 0 if self._jd_descent is None else self._jd_descent.skipped

    def setup(self, stage: str) -> None:
        """Refuse strategies of several processes; see Lightning for what it is for.

        :raises RuntimeError: If automatic optimisation is to run on several processes.
        """
        super().setup(stage)
        if stage == "fit" and self.automatic_optimization:
            refuse_multi_process(self.trainer.strategy)
        self._jd_register()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the objectives that ``loss`` stands for, or ``loss`` itself.

        :param loss: What ``training_step`` returned, scaled by Lightning.
        :raises RuntimeError: If ``objectives`` was called and its result is not ``loss``, times
            numbers; or if there are several processes.
        :raises TypeError: If an argument is given other than ``retain_graph``.
        """
        if self._jd_descent is None or not self._jd_descent.backward(loss, args, kwargs):
            super().backward(loss, *args, **kwargs)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step the optimizer, with a closure that also aggregates; see Lightning."""
        closure = self._jd_ensure_descent().wrap(optimizer, optimizer_closure)
        super().optimizer_step(epoch, batch_idx, optimizer, closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clear ``.grad`` and ``.jac``; see Lightning."""
        super().optimizer_zero_grad(epoch, batch_idx, optimizer)
        self._jd_ensure_descent().clear()

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the state, with that of the configured aggregator."""
        self._jd_register()
        return super().state_dict(*args, **kwargs)

    # Unlike `load_state_dict`, it is called of a module inside another one, too.
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load a state, with that of the configured aggregator."""
        self._jd_register()
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # A callback that averages weights copies the module before `setup`; the copy is later
        # gone through in parallel with the module, and needs as many buffers.
        if self._jd_is_fitting():
            self._jd_register()
        # What belongs to a fit in progress stays behind: it refers to the trainer and the graph.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_jd_descent"}

    def _jd_register(self) -> None:
        """Configure the aggregator, if it is not yet, and if there is one."""
        override = getattr(self.configure_aggregator, "__func__", None)
        if self._jd_path is None and override is not JDModule.configure_aggregator:
            self._jd_path = register(self, self.configure_aggregator)

    def _jd_method(self, per_sample: bool) -> Aggregator | Weighting[Any]:
        """Return what combines objectives; checked anew, since it may be of another kind."""
        if self._jd_path is None:
            self._jd_path = register(self, self.configure_aggregator)
        configured: Any = self.get_submodule(self._jd_path)
        return as_weighting(configured) if per_sample else as_aggregator(configured)

    def _jd_ensure_descent(self) -> Descent:
        if self._jd_descent is None:
            self._jd_descent = Descent(self, self._jd_method)
        return self._jd_descent

    def _jd_is_fitting(self) -> bool:
        try:
            return self.trainer.training
        except RuntimeError:  # there is no trainer
            return False
