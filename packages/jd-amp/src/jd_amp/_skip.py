"""Steps that are left out where a gradient is not finite, for training without a scaler."""

from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from ._drop import drop_nonfinite_grads


def skip_nonfinite_steps(optimizer: Optimizer) -> RemovableHandle:
    """Let ``optimizer.step()`` do nothing where an element of a ``.grad`` is not finite.

    All ``.grad`` of the optimizer are then None, which makes its step leave every parameter, and
    what the optimizer remembers of it, as they are. That is for bfloat16, whose range needs no
    scaler, so that nothing else looks for what overflows all the same. Of a step that is given a
    closure, it is the gradients of the closure that are looked at.

    .. note:: Each step reads on the host whether the gradients are finite: on a GPU it waits for
        what computes them, as a stock gradient scaler does.

    :param optimizer: Whose steps.
    :returns: What takes the check away again: ``handle.remove()``.
    :raises TypeError: If ``optimizer`` is no optimizer.

    >>> import torch, jd_amp
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = torch.optim.SGD([x], lr=1.0)
    >>> handle = jd_amp.skip_nonfinite_steps(optimizer)
    >>> x.grad = torch.tensor([0.5, float("nan")])
    >>> optimizer.step()
    >>> x
    tensor([1., 2.], requires_grad=True)
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"`optimizer` must be a torch.optim.Optimizer. Got {type(optimizer).__name__}."
        )
    return optimizer.register_step_pre_hook(_drop_nonfinite)


def _drop_nonfinite(
    optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Clear gradients that are not finite; with a closure, as soon as it has computed them."""
    positional = args[1:]  # after the optimizer itself
    closure = kwargs.get("closure", positional[0] if positional else None)
    if closure is None:
        drop_nonfinite_grads(optimizer)
        return None

    def checked() -> Any:
        loss = closure()
        drop_nonfinite_grads(optimizer)
        return loss

    if "closure" in kwargs:
        return args, {**kwargs, "closure": checked}
    return (args[0], checked, *args[2:]), kwargs
