"""The shared Jacobian and the gradients of the heads, of the losses of several tasks."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchjd._autograd._gradients import Commit

from ._arguments import as_chunk_size, as_grad_tensors, as_inputs, as_outputs
from ._compiled import fill_checked
from ._cotangents import GivenCotangents
from ._heads import Heads
from ._rows import new_buffers, write_all
from ._scaling import RowScaling, as_row_scales, finite_rows
from ._split import Split, split_parameters
from ._strategy import batches, jacobian, warn_looped


class MultiTaskGradients(NamedTuple):
    """What the losses of several tasks say about the parameters.

    :ivar shared: The shared parameters.
    :ivar jacobians: For each, its Jacobian, of shape ``[n_tasks, *parameter.shape]``.
    :ivar commit_heads: Adds the gradients of the tasks' own parameters to their ``.grad``.
    :ivar finite: Of scaled tasks, whether all of that is finite, of shape ``[n_tasks]``; else None.
    """

    shared: Sequence[Tensor]
    jacobians: Sequence[Tensor]
    commit_heads: Commit
    finite: Tensor | None


class MultiTaskProblem(NamedTuple):
    """Checked arguments of ``mtl_backward``.

    :ivar losses: One a task.
    :ivar features: What the tasks share; empty if they were to be found from the graph.
    :ivar starts: The cotangent of each loss.
    :ivar split: The parameters.
    :ivar chunk_size: The most rows to differentiate at a time; None to choose.
    :ivar scaling: By what the cotangents are scaled, and what comes out is divided; None for 1.
    """

    losses: Sequence[Tensor]
    features: Sequence[Tensor]
    starts: Sequence[Tensor]
    split: Split
    chunk_size: int | None
    scaling: RowScaling | None


def check_problem(
    losses: Iterable[Tensor] | None,
    features: Tensor | Iterable[Tensor] | None,
    grad_tensors: Iterable[Tensor] | None,
    tasks_params: Iterable[Iterable[Tensor]] | None,
    shared_params: Iterable[Tensor] | None,
    parallel_chunk_size: int | None,
    row_scales: Tensor | None = None,
) -> MultiTaskProblem:
    """Check the arguments that the public functions share.

    :raises TypeError: If one is of a wrong type or dtype.
    :raises ValueError: If one has a wrong shape or number, or does not belong to the graph.
    :raises RuntimeError: If the graph cannot be differentiated, or split, safely.
    """
    chunk_size = as_chunk_size(parallel_chunk_size)
    if losses is None:
        raise TypeError("`losses` must be given: one loss for each task. Got none.")
    tensors = as_outputs(losses, "losses")
    shared_features = None if features is None else as_inputs(features, "features")
    if grad_tensors is None:
        starts = [_unit(loss, i) for i, loss in enumerate(tensors)]
    else:
        starts = as_grad_tensors(grad_tensors, "grad_tensors", tensors, "losses")
    split = split_parameters(tensors, shared_features, tasks_params, shared_params)
    scaling = None
    if row_scales is not None:
        written = {id(p): p for params in (split.shared, *split.tasks) for p in params}
        scaling = as_row_scales(row_scales, len(tensors), "parameters", list(written.values()))
    return MultiTaskProblem(tensors, shared_features or [], starts, split, chunk_size, scaling)


def differentiate_tasks(problem: MultiTaskProblem, retain_graph: bool) -> MultiTaskGradients:
    """Differentiate every loss with respect to the shared parameters and to its own.

    One backward pass a loss goes through its head and on through the trunk: right whatever the
    features look like, and it costs what two passes would. Only where several rows are to be
    differentiated at a time is the graph cut at the features.

    :param problem: What to differentiate.
    :param retain_graph: Whether to keep the graph.
    """
    split, m = problem.split, len(problem.losses)
    if split.shared and batches(m, split.shared, split.trunk, problem.chunk_size):
        if split.clean:
            return _through_features(problem, retain_graph)
        if problem.chunk_size is not None:
            warn_looped(
                "the features depend on one another, or are bypassed"
                if problem.features
                else "no `features` are given, at which the graph could be cut"
            )
    jacobians = new_buffers(m, split.shared)
    heads = Heads(problem.scaling)

    def fill() -> None:
        for i, own_params in enumerate(split.tasks):
            keep = retain_graph or i < m - 1
            own_grads = _write_row(
                problem, i, split.shared, own_params, jacobians, keep, problem.scaling
            )
            heads.add(i, own_params, own_grads)

    if split.trunk.compiled or split.heads.compiled:
        fill_checked(fill, lambda: _first_row(problem), jacobians)
    else:
        fill()
    return MultiTaskGradients(split.shared, jacobians, heads.commit(), heads.finite_with(jacobians))


def _through_features(problem: MultiTaskProblem, retain_graph: bool) -> MultiTaskGradients:
    split = problem.split
    above = differentiate_heads(problem, retain_graph)
    jacobians = jacobian(
        GivenCotangents(problem.features, above.jacobians, problem.scaling),
        split.shared,
        split.trunk,
        retain_graph=retain_graph,
        chunk_size=problem.chunk_size,
    )
    finite = above.finite
    if finite is not None:
        rows = finite_rows(jacobians)
        finite = rows & finite.to(rows.device)  # the features may be on another device
    return MultiTaskGradients(split.shared, jacobians, above.commit_heads, finite)


def differentiate_heads(problem: MultiTaskProblem, retain_graph: bool) -> MultiTaskGradients:
    """Differentiate every loss with respect to the features and to its own parameters.

    The graph of the features is kept in any case.

    :param problem: What to differentiate, of which the split is clean.
    :param retain_graph: Whether to keep the graph of the heads.
    :returns: The Jacobian with respect to the features in place of the shared parameters; of the
        scaled losses, if they are scaled, since it goes on through the trunk.
    """
    split = problem.split
    cotangents = new_buffers(len(problem.losses), problem.features)
    heads = Heads(problem.scaling)

    def fill() -> None:
        for i, own_params in enumerate(split.tasks):
            keep = retain_graph or split.heads.meets_later[i]
            own_grads = _write_row(problem, i, problem.features, own_params, cotangents, keep, None)
            heads.add(i, own_params, own_grads)

    if split.heads.compiled:
        fill_checked(fill, lambda: _pull(problem, 0, problem.features, True), cotangents)
    else:
        fill()
    finite = heads.finite_with(cotangents)
    return MultiTaskGradients(problem.features, cotangents, heads.commit(), finite)


def _write_row(
    problem: MultiTaskProblem,
    i: int,
    inputs: Sequence[Tensor],
    own_params: Sequence[Tensor],
    buffers: Sequence[Tensor],
    retain_graph: bool,
    scaling: RowScaling | None,
) -> Sequence[Tensor | None]:
    """Write row ``i`` with respect to ``inputs``; return the gradients of ``own_params``.

    :param scaling: By what the row is divided; the gradients that are returned are not.
    """
    grads = _pull(problem, i, [*inputs, *own_params], retain_graph)
    write_all([buffer[i] for buffer in buffers], grads[: len(inputs)], scaling, i)
    return grads[len(inputs) :]


def _first_row(problem: MultiTaskProblem) -> Sequence[Tensor | None]:
    """Return the first row of the shared parameters, as it is written; the graph is kept."""
    grads = _pull(problem, 0, problem.split.shared, retain_graph=True)
    if problem.scaling is None:
        return grads
    return [None if grad is None else problem.scaling.divide(grad, 0) for grad in grads]


def _pull(
    problem: MultiTaskProblem, i: int, inputs: Sequence[Tensor], retain_graph: bool
) -> Sequence[Tensor | None]:
    if not inputs:
        return []
    start = problem.starts[i]
    if problem.scaling is not None:
        start = start * problem.scaling.scales[i].to(start)
    return torch.autograd.grad(
        [problem.losses[i]],
        inputs,
        [start],
        retain_graph=retain_graph,
        allow_unused=True,
    )


def _unit(loss: Tensor, i: int) -> Tensor:
    if loss.numel() != 1:
        raise ValueError(
            f"`losses[{i}]` must have one element, unless `grad_tensors` are given. Got shape "
            f"{list(loss.shape)}. Reduce it, for instance with `.mean()`."
        )
    return torch.ones_like(loss)
