"""The Jacobian of the tasks' losses into ``.jac``; the gradients of the heads into ``.grad``."""

from collections.abc import Iterable

from torch import Tensor

from ._accumulation import add_to_jacobians, check_jacobian_room
from ._mtl import check_problem, differentiate_tasks


def mtl_backward(
    losses: Iterable[Tensor] | None = None,
    features: Tensor | Iterable[Tensor] | None = None,
    *,
    tensors: Iterable[Tensor] | None = None,
    grad_tensors: Iterable[Tensor] | None = None,
    tasks_params: Iterable[Iterable[Tensor]] | None = None,
    shared_params: Iterable[Tensor] | None = None,
    retain_graph: bool = False,
    parallel_chunk_size: int | None = None,
    row_scales: Tensor | None = None,
) -> Tensor | None:
    r"""Accumulate ``.jac`` in the shared parameters, and ``.grad`` in the tasks' own.

    With :math:`\ell_i` the loss of task :math:`i`, :math:`\theta` a shared parameter and
    :math:`\phi` a parameter of the tasks,

    .. math::

        \theta\text{.jac} \mathrel{+}= \left[ \partial \ell_i / \partial \theta \right]_i,
        \qquad \phi\text{.grad} \mathrel{+}= \sum_i \partial \ell_i / \partial \phi,

    the sum running over the tasks that :math:`\phi` belongs to. Derivatives are total: features may
    depend on one another, or be bypassed, and heads may share a computation. Nothing is written
    unless all of it succeeded.

    :param losses: One loss a task, of one element each.
    :param features: What the tasks share. It tells the parameters apart, where these are not given.
        Default: found from the graph, where the losses meet: a parameter that two losses or more
        depend on is shared, and with one loss, all are. Losses that come out of one compiled
        region share all of its parameters. Where none is shared, there is no ``.jac``.
    :param tensors: Another name for ``losses``.
    :param grad_tensors: For each loss, a cotangent of its shape and dtype; the losses may then have
        any shape.
    :param tasks_params: For each loss, the parameters of its own. Default: the leaves that it
        reaches and that are not shared.
    :param shared_params: The parameters whose ``.jac`` is written. Default: the leaves that the
        features depend on.
    :param retain_graph: Whether to keep the graph for another backward pass.
    :param parallel_chunk_size: The most rows to differentiate at a time; 1 for row by row.
        Default: chosen by the size of the graph.
    :param row_scales: For each loss, a positive number that its cotangent is multiplied by, and its
        row and its part of every head's gradient are divided by before they are added: the result
        is the same, but what half precision holds on the way neither under- nor overflows.
        :class:`jd_amp.JacobianScaler` finds them.
    :returns: With ``row_scales``, whether all that a loss says of the parameters is finite, a bool
        tensor of shape ``[n_tasks]``; else None.
    :raises TypeError: If an argument is of a wrong type, or of a dtype that is not real floating;
        or a parameter is of float16 with ``row_scales``.
    :raises ValueError: If a tensor does not require grad, is empty, or has a wrong shape; a
        parameter is given twice; no loss depends on the features; a ``.jac`` has another number of
        rows; or ``row_scales`` have, or one is not positive.
    :raises RuntimeError: If the graph was freed, holds a reentrant checkpoint or a compiled region
        that overwrites what it saved, or if a feature and a loss come out of one compiled region.

    >>> import torch
    >>> from torchjd.autojac import mtl_backward
    >>> shared, head = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    >>> features = 3 * shared
    >>> mtl_backward([features.sum(), features @ head], features)
    >>> shared.jac, head.grad
    (tensor([[3., 3.],
            [3., 3.]]), tensor([3., 3.]))
    """
    problem = check_problem(
        one_of(losses, tensors),
        features,
        grad_tensors,
        tasks_params,
        shared_params,
        parallel_chunk_size,
        row_scales,
    )
    check_jacobian_room(problem.split.shared, len(problem.losses), "shared_params")
    gradients = differentiate_tasks(problem, retain_graph)
    commit = add_to_jacobians(gradients.shared, gradients.jacobians)
    gradients.commit_heads()
    commit()
    return gradients.finite


def one_of(
    losses: Iterable[Tensor] | None, tensors: Iterable[Tensor] | None
) -> Iterable[Tensor] | None:
    """Return whichever of the two names of the losses was used.

    :raises TypeError: If both were.
    """
    if losses is not None and tensors is not None:
        raise TypeError("`losses` and `tensors` are two names of one argument. Got both.")
    return tensors if losses is None else losses
