"""One step of multi-task learning: from the tasks' losses to ``.grad``."""

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor

from torchjd._autograd._gradients import add_to_grads
from torchjd.aggregation import Aggregator
from torchjd.aggregation._inputs import require_inputs
from torchjd.autojac._feature_level import check_cut, step_through_features
from torchjd.autojac._jac_to_grad import Inputs, aggregate, check_aggregator
from torchjd.autojac._mtl import MultiTaskProblem, check_problem, differentiate_tasks
from torchjd.distributed._local import require_single_process

Level = Literal["parameters", "features"]
"""Whose Jacobian is aggregated; :func:`mtl_backward` explains."""


def mtl_backward(
    losses: Iterable[Tensor],
    features: Tensor | Iterable[Tensor] | None,
    aggregator: Aggregator,
    *,
    grad_tensors: Iterable[Tensor] | None = None,
    tasks_params: Iterable[Iterable[Tensor]] | None = None,
    shared_params: Iterable[Tensor] | None = None,
    retain_graph: bool = False,
    parallel_chunk_size: int | None = None,
    level: Level = "parameters",
    cross_gramian: Tensor | None = None,
) -> Tensor | None:
    r"""Add the aggregation to the ``.grad`` of shared parameters, and gradients to the tasks' own.

    It is :func:`torchjd.autojac.mtl_backward`, then :func:`torchjd.autojac.jac_to_grad` on the
    shared parameters, without a ``.jac`` in between; either all of it happens or nothing. An
    aggregator that needs the values of the objectives is given the losses.

    With :math:`z = f(\theta)` the features and :math:`J_z` the Jacobian of the losses with respect
    to them, ``level="features"`` adds :math:`(\partial z / \partial \theta)^\top \mathcal{A}(J_z)`
    to the shared parameters instead of :math:`\mathcal{A}(J_z \, \partial z / \partial \theta)`:
    one backward pass through the shared part instead of one a task, and the memory of the features
    instead of that of the parameters. What an aggregator guarantees then holds for the features:
    no conflict there is none of the parameters only as far as
    :math:`\partial z / \partial \theta` keeps angles. Source: Sener and Koltun, "Multi-Task
    Learning as Multi-Objective Optimization", NeurIPS 2018, section 3.3 (MGDA-UB, which is MGDA at
    this level).

    :param losses: One loss a task, of one element each.
    :param features: What the tasks share. It tells the parameters apart, where these are not given.
        None: found from the graph, where the losses meet: a parameter that two losses or more
        depend on is shared. Losses that come out of one compiled region share all of its
        parameters.
    :param aggregator: How to combine the rows of the shared Jacobian.
    :param grad_tensors: For each loss, a cotangent of its shape and dtype; the losses may then have
        any shape.
    :param tasks_params: For each loss, the parameters of its own. Default: the leaves that it
        reaches and that are not shared.
    :param shared_params: The parameters whose rows are aggregated. Default: the leaves that the
        features depend on.
    :param retain_graph: Whether to keep the graph for another backward pass.
    :param parallel_chunk_size: The most rows to differentiate at a time; 1 for row by row.
        Default: chosen by the size of the graph.
    :param level: Whose Jacobian is aggregated: ``"parameters"``, of the shared ones, or
        ``"features"``.
    :param cross_gramian: The Gramian across two batches, of shape ``[m, m]``, for aggregators that
        need it: see :func:`torchjd.linalg.cross_gramian`. Of the Jacobians at the same level.
    :returns: The weights, of shape ``[n_tasks]``, if the aggregator has them.
    :raises TypeError: If an argument is of a wrong type, or of a dtype that is not real floating;
        or if ``cross_gramian`` is missing and the aggregator needs it.
    :raises ValueError: If a tensor does not require grad, is empty, or has a wrong shape; a
        parameter is given twice; no loss depends on the features, or, without these, no two losses
        on one parameter; or, at their level, there are no features, they depend on one another, or
        are bypassed.
    :raises RuntimeError: If the graph was freed, or cannot be differentiated, or split, safely; or
        if a process group of several ranks is initialised, outside
        :func:`torchjd.distributed.local`.

    >>> import torch, torchjd
    >>> from torchjd.aggregation import UPGrad
    >>> shared, head = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    >>> features = 3 * shared
    >>> torchjd.mtl_backward([features.sum(), features @ head], features, UPGrad())
    tensor([0.5000, 0.5000])
    >>> shared.grad, head.grad
    (tensor([3., 3.]), tensor([3., 3.]))
    """
    require_single_process("torchjd.mtl_backward")
    check_aggregator(aggregator)
    require_inputs(aggregator, losses=True, cross_gramian=cross_gramian is not None)
    if level not in get_args(Level):
        raise ValueError(f"`level` must be one of {', '.join(get_args(Level))}. Got {level!r}.")
    problem = check_problem(
        losses, features, grad_tensors, tasks_params, shared_params, parallel_chunk_size
    )
    if not problem.split.shared:
        raise ValueError(
            "`losses` must meet in at least one parameter, whose gradients are aggregated. Got "
            f"{len(problem.losses)} of which no two do. Call `.backward()` on their sum."
        )
    given: Inputs = {
        "losses": _values(problem) if aggregator.needs_losses else None,
        "cross_gramian": cross_gramian,
    }
    if level == "features":
        check_cut(problem)
        commit, weights = step_through_features(
            problem, lambda jacobians: aggregate(jacobians, aggregator, given), retain_graph
        )
        commit()
        return weights
    gradients = differentiate_tasks(problem, retain_graph)
    parts, weights = aggregate(gradients.jacobians, aggregator, given)
    commit = add_to_grads(gradients.shared, parts)
    gradients.commit_heads()
    commit()
    return weights


def _values(problem: MultiTaskProblem) -> Tensor:
    """Return the value of each loss, seeded as its row is."""
    device = problem.losses[0].device
    with torch.no_grad():
        pairs = zip(problem.losses, problem.starts, strict=True)
        return torch.stack([(start * loss).sum().to(device) for loss, start in pairs])
