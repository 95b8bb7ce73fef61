"""One step of multi-task learning: from the tasks' losses to ``.grad``."""

from collections.abc import Iterable

from torch import Tensor

from torchjd.aggregation import Aggregator
from torchjd.autojac._jac_to_grad import aggregate, check_aggregator
from torchjd.autojac._mtl import check_problem, differentiate_tasks
from torchjd.distributed._local import require_single_process


def mtl_backward(
    losses: Iterable[Tensor],
    features: Tensor | Iterable[Tensor],
    aggregator: Aggregator,
    *,
    grad_tensors: Iterable[Tensor] | None = None,
    tasks_params: Iterable[Iterable[Tensor]] | None = None,
    shared_params: Iterable[Tensor] | None = None,
    retain_graph: bool = False,
    parallel_chunk_size: int | None = None,
) -> Tensor | None:
    r"""Add the aggregation to the ``.grad`` of shared parameters, and gradients to the tasks' own.

    It is :func:`torchjd.autojac.mtl_backward`, then :func:`torchjd.autojac.jac_to_grad` on the
    shared parameters, without a ``.jac`` in between; either all of it happens or nothing.

    :param losses: One loss a task, of one element each.
    :param features: What the tasks share. It tells the parameters apart, where these are not given.
    :param aggregator: How to combine the rows of the shared Jacobian.
    :param grad_tensors: For each loss, a cotangent of its shape and dtype; the losses may then have
        any shape.
    :param tasks_params: For each loss, the parameters of its own. Default: the leaves that it
        reaches and that the features do not depend on.
    :param shared_params: The parameters whose rows are aggregated. Default: the leaves that the
        features depend on.
    :param retain_graph: Whether to keep the graph for another backward pass.
    :param parallel_chunk_size: The most rows to differentiate at a time; 1 for row by row.
        Default: chosen by the size of the graph.
    :returns: The weights, of shape ``[n_tasks]``, if the aggregator has them.
    :raises TypeError: If an argument is of a wrong type, or of a dtype that is not real floating.
    :raises ValueError: If a tensor does not require grad, is empty, or has a wrong shape; a
        parameter is given twice; or no loss depends on the features.
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
    problem = check_problem(
        losses, features, grad_tensors, tasks_params, shared_params, parallel_chunk_size
    )
    gradients = differentiate_tasks(problem, retain_graph)
    commit, weights = aggregate(gradients.shared, gradients.jacobians, aggregator)
    gradients.commit_heads()
    commit()
    return weights
