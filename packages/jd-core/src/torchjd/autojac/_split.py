"""Which parameters the tasks share, and which are each task's own."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from torchjd._autograd._nodes import Edge, edge_of, is_opaque

from ._arguments import as_inputs
from ._graph import Graph, walk
from ._meeting import leaves_of_several


class Split(NamedTuple):
    """The parameters of a multi-task model.

    :ivar shared: The parameters whose Jacobian is wanted; none if losses that meet nowhere are
        given without features.
    :ivar tasks: For each loss, the parameters whose gradient is wanted, if it depends on them.
    :ivar clean: Whether all that the losses know of the shared parameters goes through features
        that do not depend on one another: then, and only then, can the graph be cut there.
    :ivar trunk: The graph of the features.
    :ivar heads: The graph of the losses down to the features.
    """

    shared: Sequence[Tensor]
    tasks: Sequence[Sequence[Tensor]]
    clean: bool
    trunk: Graph
    heads: Graph


def split_parameters(
    losses: Sequence[Tensor],
    features: Sequence[Tensor] | None,
    tasks_params: Iterable[Iterable[Tensor]] | None,
    shared_params: Iterable[Tensor] | None,
) -> Split:
    """Find the parameters, and check those that are given.

    :param losses: One scalar a task, or tensors that are seeded with a cotangent.
    :param features: The tensors that the tasks share; None to find the parameters where the losses
        meet.
    :param tasks_params: For each loss, its own parameters; None for the leaves that it reaches
        and that the features do not.
    :param shared_params: The shared parameters; None for the leaves that the features reach.
    :raises TypeError: If what is given is not made of tensors of real floating dtypes.
    :raises ValueError: If what is given does not fit the losses, or one parameter is both shared
        and a task's; or if no loss depends on a feature.
    :raises RuntimeError: If a reentrant checkpoint is in the graph; or if parameters are not given
        and a loss and a feature come out of one compiled region or custom function.
    """
    loss_edges = [edge_of(loss) for loss in losses]
    if features is None:
        return _split_where_losses_meet(loss_edges, tasks_params, shared_params)
    cut = [edge_of(feature) for feature in features]
    trunk, heads = walk(cut, cut), walk(loss_edges, cut)
    trunk.refuse_reentrant()
    heads.refuse_reentrant()
    mixed = [e.node for e in loss_edges if e.node in {c.node for c in cut}] + heads.bypassed
    if not heads.cut and not mixed:
        raise ValueError(
            "`features` must be tensors that at least one of the losses depends on. Got none that "
            "any loss does. Pass the features of this very forward pass."
        )
    if tasks_params is None or shared_params is None:
        _refuse_opaque([node for node in mixed if is_opaque(node)])
    shared = trunk.leaves if shared_params is None else as_inputs(shared_params, "shared_params")
    shared_ids = {id(tensor) for tensor in (*shared, *trunk.leaves)}
    others = [leaf for leaf in heads.leaves if id(leaf) not in shared_ids]
    tasks = _tasks(tasks_params, shared, others, len(losses))
    bypassed = heads.bypassed or any(id(leaf) in shared_ids for leaf in heads.leaves)
    return Split(shared, tasks, not (bypassed or trunk.cut), trunk, heads)


def _split_where_losses_meet(
    losses: Sequence[Edge],
    tasks_params: Iterable[Iterable[Tensor]] | None,
    shared_params: Iterable[Tensor] | None,
) -> Split:
    graph = walk(losses)
    graph.refuse_reentrant()
    if shared_params is not None:
        shared = as_inputs(shared_params, "shared_params")
    elif len(losses) == 1:
        shared = graph.leaves
    else:
        met = leaves_of_several(losses)
        shared = [leaf for leaf in graph.leaves if id(leaf) in met]
    shared_ids = {id(tensor) for tensor in shared}
    others = [leaf for leaf in graph.leaves if id(leaf) not in shared_ids]
    return Split(shared, _tasks(tasks_params, shared, others, len(losses)), False, graph, Graph())


def _tasks(
    given: Iterable[Iterable[Tensor]] | None,
    shared: Sequence[Tensor],
    others: list[Tensor],
    n_losses: int,
) -> Sequence[Sequence[Tensor]]:
    """Return the parameters of each task: those given, else those not shared that it may reach."""
    if given is None:
        return [others] * n_losses
    tasks = _given_tasks(given, n_losses)
    _refuse_overlap(tasks, shared)
    return tasks


def _given_tasks(tasks_params: Iterable[Iterable[Tensor]], n_losses: int) -> list[list[Tensor]]:
    if isinstance(tasks_params, Tensor) or not isinstance(tasks_params, Iterable):
        raise TypeError(
            "`tasks_params` must be an iterable of iterables of tensors, one for each loss. Got "
            f"{type(tasks_params).__name__}."
        )
    given = list(tasks_params)
    if len(given) != n_losses:
        raise ValueError(
            f"`tasks_params` must have the parameters of each of the {n_losses} losses. "
            f"Got {len(given)}."
        )
    return [_given_task(own, f"tasks_params[{i}]") for i, own in enumerate(given)]


def _given_task(own: Iterable[Tensor], name: str) -> list[Tensor]:
    if isinstance(own, Iterable) and not isinstance(own, Tensor):
        own = list(own)
        if not own:  # a task may have no parameters of its own
            return []
    return as_inputs(own, name)


def _refuse_overlap(tasks: Sequence[Sequence[Tensor]], shared: Sequence[Tensor]) -> None:
    shared_positions = {id(tensor): i for i, tensor in enumerate(shared)}
    for i, own in enumerate(tasks):
        for k, tensor in enumerate(own):
            if id(tensor) in shared_positions:
                raise ValueError(
                    f"`tasks_params` and `shared_params` must have no parameter in common. Got "
                    f"`tasks_params[{i}][{k}]`, of shape {list(tensor.shape)}, as shared parameter "
                    f"{shared_positions[id(tensor)]} too. What the features depend on is shared, "
                    "and, without `features`, what two losses depend on."
                )


def _refuse_opaque(mixed: Sequence[Node]) -> None:
    if mixed:
        raise RuntimeError(
            "`features` and the losses must come out of different nodes of the graph, for the "
            "shared parameters to be told from those of the tasks. Got a feature and a loss "
            f"out of one {type(mixed[0]).__name__}. Compile the feature extractor and the heads "
            "separately, or pass both `tasks_params` and `shared_params`."
        )
