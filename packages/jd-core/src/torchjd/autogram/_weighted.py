"""The weighted gradient: from what one pass computed, or by an ordinary backward pass."""

from math import prod

from torch import Tensor, nn

from torchjd._autograd._gradients import Commit, add_to_grads
from torchjd._autograd._nodes import kind

from ._graph import shapes
from ._order import Losses
from ._plan import Plan
from ._uses._use import Use


def why_ordinary(plan: Plan) -> str | None:
    """Return why an ordinary backward pass has to compute the weighted gradient; None if not.

    :param plan: How the Gramian is computed, with the uses of all leaves that are reached.
    """
    if plan.losses is None:
        return "nothing is assumed of the samples"
    if plan.mixing:
        return f"samples are mixed in {plan.where_mixed()}"
    for leaf in plan.graph.leaves.values():
        if not isinstance(leaf, nn.Parameter):
            return "a tensor that is no parameter requires grad"
        if leaf.is_complex():
            return "a parameter is complex"
        if leaf._backward_hooks or leaf._post_accumulate_grad_hooks:
            return "a parameter carries hooks"
    for node in plan.graph.order:
        if "BackwardHookFunction" in kind(node):
            return "a module carries backward hooks"
        if getattr(node, "_saved_sparse", False):
            return "a gradient is sparse"
    return None


def bytes_to_keep(plan: Plan) -> int:
    """Return how many bytes of cotangents are kept, at most."""
    if plan.losses is None:
        return 0
    size = plan.dtype.itemsize * plan.losses.tasks
    return size * sum(prod(shape) for node in plan.consumers for shape in shapes(node))


def from_uses(kept: list[tuple[Tensor, Use]], losses: Losses, weights: Tensor) -> Commit:
    """Return what adds the weighted gradient to the ``.grad`` of the parameters.

    :param kept: For each parameter, what its rows are made from. Emptied, so that each is freed
        once its gradient is there.
    :param losses: How the losses are read.
    :param weights: Of the shape of the losses, in the dtype of the Gramian.
    """
    parameters: list[Tensor] = []
    grads: list[Tensor] = []
    by_task = losses.by_task(weights)
    while kept:
        parameter, use = kept.pop()
        grad = use.weighted(by_task.to(parameter.device))
        parameters.append(parameter)
        grads.append(grad.to(parameter.dtype).view_as(parameter))
    return add_to_grads(parameters, grads)
