"""Gradients that are not finite, forgotten with all others of their optimizer."""

from torch import Tensor
from torch.optim import Optimizer

from ._finite import all_finite, where_to_decide


def drop_nonfinite_grads(optimizer: Optimizer) -> bool:
    """Set all ``.grad`` of ``optimizer`` to None if an element of one is not finite.

    Its next step then leaves every parameter, and what it remembers of it, as they are. It is read
    on the host whether they are: on a GPU that waits for what computes them.

    :param optimizer: Whose gradients.
    :returns: Whether they were dropped.

    >>> import torch, jd_amp
    >>> x = torch.ones(2, requires_grad=True)
    >>> x.grad = torch.tensor([1.0, float("inf")])
    >>> jd_amp.drop_nonfinite_grads(torch.optim.SGD([x], lr=1.0)), x.grad
    (True, None)
    """
    params: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    grads = [p.grad for p in params if p.grad is not None]
    if not grads or all_finite(grads, where_to_decide(grads)):
        return False
    for param in params:
        param.grad = None
    return True
