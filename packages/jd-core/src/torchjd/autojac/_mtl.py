"""The shared Jacobian and the gradients of the heads, of the losses of several tasks."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchjd._autograd._gradients import Commit, add_to_grads, own, total

from ._arguments import as_chunk_size, as_grad_tensors, as_inputs, as_outputs
from ._compiled import fill_checked
from ._cotangents import GivenCotangents
from ._rows import new_buffers, write_all
from ._split import Split, split_parameters
from ._strategy import batches, jacobian, warn_looped


class MultiTaskGradients(NamedTuple):
    """What the losses of several tasks say about the parameters.

    :ivar shared: The shared parameters.
    :ivar jacobians: For each, its Jacobian, of shape ``[n_tasks, *parameter.shape]``.
    :ivar commit_heads: Adds the gradients of the tasks' own parameters to their ``.grad``.
    """

    shared: Sequence[Tensor]
    jacobians: Sequence[Tensor]
    commit_heads: Commit


class MultiTaskProblem(NamedTuple):
    """Checked arguments of ``mtl_backward``."""

    losses: Sequence[Tensor]
    features: Sequence[Tensor]
    starts: Sequence[Tensor]
    split: Split
    chunk_size: int | None


def check_problem(
    losses: Iterable[Tensor] | None,
    features: Tensor | Iterable[Tensor],
    grad_tensors: Iterable[Tensor] | None,
    tasks_params: Iterable[Iterable[Tensor]] | None,
    shared_params: Iterable[Tensor] | None,
    parallel_chunk_size: int | None,
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
    shared_features = as_inputs(features, "features")
    if grad_tensors is None:
        starts = [_unit(loss, i) for i, loss in enumerate(tensors)]
    else:
        starts = as_grad_tensors(grad_tensors, "grad_tensors", tensors, "losses")
    split = split_parameters(tensors, shared_features, tasks_params, shared_params)
    return MultiTaskProblem(tensors, shared_features, starts, split, chunk_size)


def differentiate_tasks(problem: MultiTaskProblem, retain_graph: bool) -> MultiTaskGradients:
    """Differentiate every loss with respect to the shared parameters and to its own.

    One backward pass a loss goes through its head and on through the trunk: right whatever the
    features look like, and it costs what two passes would. Only where several rows are to be
    differentiated at a time is the graph cut at the features.

    :param problem: What to differentiate.
    :param retain_graph: Whether to keep the graph.
    """
    split, m = problem.split, len(problem.losses)
    if batches(m, split.shared, split.trunk, problem.chunk_size):
        if split.clean:
            return _through_features(problem, retain_graph)
        if problem.chunk_size is not None:
            warn_looped("the features depend on one another, or are bypassed")
    jacobians = new_buffers(m, split.shared)
    heads = _Heads()

    def fill() -> None:
        for i, own_params in enumerate(split.tasks):
            keep = retain_graph or i < m - 1
            heads.add(own_params, _write_row(problem, i, split.shared, own_params, jacobians, keep))

    if split.trunk.compiled or split.heads.compiled:
        fill_checked(fill, lambda: _pull(problem, 0, split.shared, True), jacobians)
    else:
        fill()
    return MultiTaskGradients(split.shared, jacobians, heads.commit())


def _through_features(problem: MultiTaskProblem, retain_graph: bool) -> MultiTaskGradients:
    split = problem.split
    above = differentiate_heads(problem, retain_graph)
    jacobians = jacobian(
        GivenCotangents(problem.features, above.jacobians),
        split.shared,
        split.trunk,
        retain_graph=retain_graph,
        chunk_size=problem.chunk_size,
    )
    return MultiTaskGradients(split.shared, jacobians, above.commit_heads)


def differentiate_heads(problem: MultiTaskProblem, retain_graph: bool) -> MultiTaskGradients:
    """Differentiate every loss with respect to the features and to its own parameters.

    The graph of the features is kept in any case.

    :param problem: What to differentiate, of which the split is clean.
    :param retain_graph: Whether to keep the graph of the heads.
    :returns: The Jacobian with respect to the features in place of the shared parameters.
    """
    split = problem.split
    cotangents = new_buffers(len(problem.losses), problem.features)
    heads = _Heads()

    def fill() -> None:
        for i, own_params in enumerate(split.tasks):
            keep = retain_graph or split.heads.meets_later[i]
            heads.add(
                own_params, _write_row(problem, i, problem.features, own_params, cotangents, keep)
            )

    if split.heads.compiled:
        fill_checked(fill, lambda: _pull(problem, 0, problem.features, True), cotangents)
    else:
        fill()
    return MultiTaskGradients(problem.features, cotangents, heads.commit())


class _Heads:
    """The gradients of the tasks' own parameters; those of a parameter of several tasks add up."""

    def __init__(self) -> None:
        self._totals: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, params: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        for param, grad in zip(params, grads, strict=True):
            if grad is None:
                continue
            known = self._totals.get(id(param))
            with torch.no_grad():
                so_far = own(grad) if known is None else total(known[1], grad)
            self._totals[id(param)] = (param, so_far)

    def commit(self) -> Commit:
        pairs = self._totals.values()
        return add_to_grads([param for param, _ in pairs], [grad for _, grad in pairs])


def _write_row(
    problem: MultiTaskProblem,
    i: int,
    inputs: Sequence[Tensor],
    own_params: Sequence[Tensor],
    buffers: Sequence[Tensor],
    retain_graph: bool,
) -> Sequence[Tensor | None]:
    """Write row ``i`` with respect to ``inputs``; return the gradients of ``own_params``."""
    grads = _pull(problem, i, [*inputs, *own_params], retain_graph)
    write_all([buffer[i] for buffer in buffers], grads[: len(inputs)])
    return grads[len(inputs) :]


def _pull(
    problem: MultiTaskProblem, i: int, inputs: Sequence[Tensor], retain_graph: bool
) -> Sequence[Tensor | None]:
    if not inputs:
        return []
    return torch.autograd.grad(
        [problem.losses[i]],
        inputs,
        [problem.starts[i]],
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
