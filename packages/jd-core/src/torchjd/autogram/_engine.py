"""The Gramian engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from torchjd.aggregation._observers import OBSERVED, Observation, emit, is_observed
from torchjd.distributed._local import require_single_process

from ._arguments import (
    Mode,
    as_batch_dim,
    as_budget,
    as_mode,
    as_modules,
    check_output,
    check_weighting,
    check_weights,
)
from ._memory import room
from ._order import generalized
from ._plan import Plan, make_plan
from ._report import Report, make_report
from ._step import Result, execute
from ._watch import Recorder, Watch
from ._weighing import as_weigher
from ._weighted import bytes_to_keep, from_uses, why_ordinary


class Engine:
    r"""Compute the Gramian of the Jacobian of many losses at nearly the cost of a backward pass.

    With losses :math:`\mathcal{L} \in \mathbb{R}^m`, one for each sample (and task), and
    :math:`J \in \mathbb{R}^{m \times n}` their Jacobian with respect to the parameters of
    ``modules``, it is :math:`G = J J^\top`. :math:`J` itself is not formed: one backward pass gives
    the cotangents of the nodes that read parameters, and with what these saved, :math:`G` follows.

    The engine reads the graph of the losses alone. It leaves nothing on the modules, and reads
    their parameters anew at each call: those that require grad at the time. A parameter that is
    used several times counts with all of its uses.

    :param modules: The modules whose parameters :math:`J` is taken with respect to.
    :param batch_dim: The dimension of the losses that runs over independent samples. Where samples
        turn out not to be independent (batch normalisation in training), the parameters concerned
        are computed loss by loss, exactly, and slowly. None for losses that are averages over
        samples, which are computed so from the start: in the memory of an ordinary backward pass
        and of the rows of the largest parameter, by a backward pass a loss for each group of
        parameters of that size.
    :param mode: How :meth:`backward` computes the weighted gradient: ``"reuse"``, from what the
        Gramian was computed from, which is kept until then; ``"stream"``, by a second backward
        pass, so that nothing needs to be kept; ``"auto"``, the first where it fits in ``budget``.
    :param budget: In ``"auto"``, the most bytes to keep; and how many the rows of parameters may
        take that are computed loss by loss: the more, the fewer passes. Default: a quarter of the
        memory that is free, and for ``batch_dim=None`` no more rows than said there.
    :raises TypeError: If an argument has a wrong type.
    :raises ValueError: If there is no module, or ``mode`` or ``budget`` has a wrong value.

    >>> import torch
    >>> from torchjd.aggregation import UPGradWeighting
    >>> from torchjd.autogram import Engine
    >>> model = torch.nn.Linear(3, 1)
    >>> engine = Engine(model, batch_dim=0)
    >>> losses = (model(torch.ones(4, 3)) - torch.arange(4.0)[:, None]).square().sum(dim=1)
    >>> gramian = engine.compute_gramian(losses)
    >>> gramian.shape
    torch.Size([4, 4])
    >>> losses.backward(UPGradWeighting()(gramian))
    """

    def __init__(
        self,
        *modules: nn.Module,
        batch_dim: int | None = 0,
        mode: Mode = "auto",
        budget: int | None = None,
    ) -> None:
        self._modules = as_modules(modules)
        self._batch_dim = as_batch_dim(batch_dim)
        self._mode = as_mode(mode)
        self._budget = as_budget(budget)

    def compute_gramian(self, output: Tensor) -> Tensor:
        r"""Return the generalized Gramian of ``output``; its graph is kept.

        :param output: The losses, of shape ``[d1, ..., dk]``.
        :returns: A tensor of shape ``[d1, ..., dk, dk, ..., d1]`` and at least float32, which
            holds at ``[i1, ..., ik, jk, ..., j1]`` the inner product of the gradients of losses
            ``[i1, ..., ik]`` and ``[j1, ..., jk]``. Of a vector of losses, :math:`J J^\top`.
        :raises TypeError: If ``output`` is not a real floating-point tensor.
        :raises ValueError: If it does not require grad, is empty, or lacks ``batch_dim``.
        :raises RuntimeError: If its graph was freed, holds a reentrant checkpoint, or a compiled
            region that overwrites what it saved.
        """
        with _computing(output):
            plan = self._plan(output, others=False)
            gramian = self._execute(plan, 0, True, Watch()).gramian
        self._show(output, gramian, None)
        return generalized(gramian, output.shape)

    def backward(
        self,
        output: Tensor,
        weighting: Callable[[Tensor], Tensor],
        *,
        retain_graph: bool = False,
        cross_gramian: Tensor | None = None,
    ) -> Tensor:
        r"""Add the weighted gradient :math:`J^\top w` to ``.grad``, and return the weights.

        The same as ``w = weighting(engine.compute_gramian(output))`` and ``output.backward(w)``,
        but for what is computed twice there. Every leaf that ``output`` reaches gets its
        ``.grad``, those outside the engine's modules too.

        Where parameters or modules carry hooks on gradients, an ordinary backward pass computes
        the weighted gradient, so that they see it.

        :param output: The losses, of shape ``[d1, ..., dk]``.
        :param weighting: From their generalized Gramian to one weight each: a weighting of
            Gramians for a vector of losses, else a generalized one, such as
            :class:`~torchjd.aggregation.Flattening`.
            A weighting that needs the values of the objectives is given ``output``.
        :param retain_graph: Whether to keep the graph for another backward pass.
        :param cross_gramian: The Gramian across two batches, of shape ``[m, m]``, for weightings
            that read it in place of the Gramian: see :func:`torchjd.linalg.cross_gramian`. For
            those, and for those that read no more than the number of losses, no Gramian is
            computed.
        :returns: The weights, of shape ``[d1, ..., dk]``; NaN, and ``.grad`` with them, where the
            Gramian is not finite.
        :raises TypeError: If ``output`` is not a real floating-point tensor, or ``weighting`` does
            not return one; or if it needs ``cross_gramian`` and that is missing.
        :raises ValueError: If ``output`` does not require grad, is empty, or lacks ``batch_dim``;
            or if the weights do not have its shape.
        :raises RuntimeError: As for :meth:`compute_gramian`; or if a process group of several
            ranks is initialised, outside :func:`torchjd.distributed.local`.

        >>> import torch
        >>> from torchjd.aggregation import Flattening, UPGradWeighting
        >>> from torchjd.autogram import Engine
        >>> model = torch.nn.Linear(3, 2)
        >>> losses = model(torch.ones(4, 3)).square()
        >>> Engine(model).backward(losses, Flattening(UPGradWeighting())).shape
        torch.Size([4, 2])
        >>> model.weight.grad.shape
        torch.Size([2, 3])
        """
        require_single_process("torchjd.autogram.Engine.backward")
        check_weighting(weighting)
        weigh = as_weigher(weighting, cross_gramian)
        if not weigh.reads_gramian:
            with _computing(output):
                check_output(output, self._batch_dim)
            weights = check_weights(weigh.without_gramian(output), output).detach()
            self._show(output, None, weights)  # while there is a graph to compute it from
            return _pull_back(output, weights, retain_graph)
        with _computing(output):
            plan, reuse = self._plan_backward(output)
            keep = _UNLIMITED if reuse else 0
            result = self._execute(plan, keep, retain_graph or not reuse, Watch())
        weights = weigh(generalized(result.gramian, output.shape), output)
        weights = check_weights(weights, output).detach()
        # What a weighting makes of a Gramian that is not finite may look finite.
        weights = torch.where(torch.isfinite(result.gramian).all(), weights, torch.nan)
        self._show(output, result.gramian, weights)
        if not reuse or plan.losses is None:
            return _pull_back(output, weights, retain_graph)
        with _computing(output):
            from_uses(result.kept, plan.losses, weights.to(plan.dtype))()
        return weights

    def check(self, output: Tensor) -> Report:
        """Compute the Gramian of ``output``, and report how; its graph is kept.

        :param output: The losses, of shape ``[d1, ..., dk]``.
        :returns: Which rule serves which parameter, what it costs, and what falls back; a table
            when printed.
        :raises TypeError: As for :meth:`compute_gramian`.
        :raises ValueError: As for :meth:`compute_gramian`.
        :raises RuntimeError: As for :meth:`compute_gramian`.

        >>> import torch
        >>> from torchjd.autogram import Engine
        >>> model = torch.nn.Linear(3, 1, bias=False)
        >>> print(Engine(model).check(model(torch.ones(4, 3)).square().sum(dim=1)))
        parameter  shape  served by  FLOPs  read by
        weight     1x3    rule       128    MmBackward0
        Gramian of 4 losses: 128 FLOPs beside the backward pass.
        Weighted gradient: from the same pass.
        """
        recorder = Recorder()
        with _computing(output):
            second = self._why_second(output)
            plan = self._plan(output, others=False)
            self._execute(plan, 0, True, recorder)
        return make_report(plan, recorder, self._modules, second)

    def _show(self, output: Tensor, gramian: Tensor | None, weights: Tensor | None) -> None:
        """Show a step to who observes the engine, if anybody does."""
        if not (OBSERVED.in_use and is_observed(self)):
            return

        def compute() -> tuple[Tensor, None]:
            with _computing(output):
                plan = self._plan(output, others=False)
                return self._execute(plan, 0, True, Watch()).gramian, None

        seen = Observation(
            m=output.numel(),
            gramian=gramian,
            compute=compute if gramian is None else None,
            weights=None if weights is None else weights.reshape(-1),
            losses=output.detach().reshape(-1),
        )
        emit(self, seen)

    def _why_second(self, output: Tensor) -> str:
        plan, reuse = self._plan_backward(output)
        if reuse:
            return ""
        reason = None if self._mode == "stream" else why_ordinary(plan)
        return reason or ("the mode is stream" if self._mode == "stream" else "the budget is small")

    def _plan_backward(self, output: Tensor) -> tuple[Plan, bool]:
        """Return how the Gramian is computed, and whether the gradient is, from the same pass."""
        if self._mode != "stream":
            plan = self._plan(output, others=True)
            fits = self._mode == "reuse" or bytes_to_keep(plan) <= room(self._budget, output.device)
            if fits and why_ordinary(plan) is None:
                return plan, True
            if not plan.graph.others and len(plan.inside) == len(plan.graph.leaves):
                return plan, False
        return self._plan(output, others=False), False

    def _execute(self, plan: Plan, keep: int, retain_graph: bool, watch: Watch) -> Result:
        if self._batch_dim is None:
            # Averages over samples: the memory of an ordinary pass is what was asked for.
            rows_budget = self._budget or 0
        else:
            rows_budget = room(self._budget, plan.output.device)
        return execute(plan, keep, retain_graph, watch, rows_budget)

    def _plan(self, output: Tensor, *, others: bool) -> Plan:
        batch_dim = check_output(output, self._batch_dim)
        return make_plan(output, batch_dim, self._parameters(), others)

    def _parameters(self) -> list[Tensor]:
        """Return the parameters that require grad, each once."""
        found = {id(p): p for module in self._modules for p in module.parameters()}
        return [parameter for parameter in found.values() if parameter.requires_grad]


# Reuse is decided on before the pass: within it, everything is kept.
_UNLIMITED = 1 << 62


def _pull_back(output: Tensor, weights: Tensor, retain_graph: bool) -> Tensor:
    """Add the weighted gradient to ``.grad`` by an ordinary backward pass; return the weights."""
    cotangent = weights.to(device=output.device, dtype=output.dtype)
    torch.autograd.backward(output, cotangent, retain_graph=retain_graph)
    return weights


@contextmanager
def _computing(output: object) -> Iterator[None]:
    """Compute in the dtypes at hand, and record nothing."""
    device = output.device.type if isinstance(output, Tensor) else "cpu"
    with torch.no_grad(), torch.autocast(device, enabled=False):
        yield
