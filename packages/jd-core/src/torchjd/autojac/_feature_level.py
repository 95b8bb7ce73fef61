"""Aggregation where the tasks part: one backward pass through the shared part serves them all."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torchjd._autograd._gradients import Commit, add_to_grads, own

from ._mtl import MultiTaskProblem, differentiate_heads

Combine = Callable[[Sequence[Tensor]], tuple[list[Tensor], Tensor | None]]
"""From a Jacobian, as one tensor of shape ``[m, ...]`` each, to its aggregation and weights."""


def check_cut(problem: MultiTaskProblem) -> None:
    """Refuse features that do not carry all that the losses know of the shared parameters.

    :raises ValueError: If none are given, or a path goes around them, or from one to another.
    """
    if not problem.features:
        raise ValueError(
            '`features` must be given for `level="features"`: their Jacobian is aggregated. Got '
            "None. Pass what the heads read."
        )
    if not problem.split.clean:
        raise ValueError(
            "`features` must carry all that the losses know of the shared parameters, for "
            '`level="features"`. Got features that depend on one another, or that a path from a '
            "shared parameter to a loss goes around. Pass those that the heads read, or use "
            '`level="parameters"`.'
        )


def step_through_features(
    problem: MultiTaskProblem, combine: Combine, retain_graph: bool
) -> tuple[Commit, Tensor | None]:
    """Aggregate the Jacobian of the features, and pull the result back to the parameters.

    :param problem: What to differentiate, as :func:`check_cut` lets it pass.
    :param combine: How to aggregate.
    :param retain_graph: Whether to keep the graph.
    :returns: What adds all gradients to the ``.grad`` of the parameters; and the weights, if any.
    """
    above = differentiate_heads(problem, retain_graph)
    directions, weights = combine(above.jacobians)
    shared = problem.split.shared
    grads = torch.autograd.grad(
        problem.features, shared, directions, retain_graph=retain_graph, materialize_grads=True
    )
    with torch.no_grad():
        commit_shared = add_to_grads(shared, [own(grad) for grad in grads])

    def commit() -> None:
        above.commit_heads()
        commit_shared()

    return commit, weights
