"""The Gramian across two batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._widening import wide_dtype


@torch.no_grad()
def cross_gramian(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    r"""Return :math:`J_1 J_2^\top`, the inner products of gradients on two batches.

    Methods that sample twice, such as MoDo and SDMGrad, need it: :math:`J_1 J_1^\top` of one batch
    is a biased estimate of the Gramian of the expected gradients, and this is none.

    :param first: The Jacobian on the first batch: for each parameter, a tensor of shape
        ``[m, *parameter.shape]``, as :func:`torchjd.autojac.jac` returns them and ``.jac`` has
        them.
    :param second: The Jacobian of the same objectives on the second batch.
    :returns: A tensor of shape ``[m, m]``, in float64 (float32 on devices without), in which no
        square of a float32 entry leaves the range.
    :raises TypeError: If an argument is no sequence, or an element no floating-point tensor.
    :raises ValueError: If there is none, or shapes do not fit.

    >>> import torch
    >>> from torchjd.linalg import cross_gramian
    >>> first, second = torch.eye(2), torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> cross_gramian([first], [second])
    tensor([[2., 1.],
            [1., 3.]], dtype=torch.float64)
    """
    for name, tensors in (("first", first), ("second", second)):
        if not isinstance(tensors, Sequence):
            raise TypeError(
                f"`{name}` must be a sequence of tensors, one for each parameter. Got "
                f"{type(tensors).__name__}. Pass a list, for one Jacobian `[jacobian]`."
            )
    if not first or len(first) != len(second):
        raise ValueError(
            "`first` and `second` must have one tensor for each parameter. "
            f"Got {len(first)} and {len(second)}."
        )
    for name, tensors in (("first", first), ("second", second)):
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
                raise TypeError(f"`{name}[{i}]` must be a floating-point tensor. Got {kind}.")
    m = first[0].shape[:1].numel()
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        if one.ndim == 0 or one.shape != other.shape or one.shape[0] != m or m == 0:
            raise ValueError(
                f"`first[{i}]` and `second[{i}]` must have the same shape [m, ...], with the same "
                f"m for all parameters. Got {list(one.shape)} and {list(other.shape)}."
            )
    device = first[0].device
    total = torch.zeros(m, m, dtype=wide_dtype(device), device=device)
    for one, other in zip(first, second, strict=True):
        rows = [tensor.reshape(m, -1).to(wide_dtype(tensor.device)) for tensor in (one, other)]
        total += (rows[0] @ rows[1].T).to(device)
    return total
