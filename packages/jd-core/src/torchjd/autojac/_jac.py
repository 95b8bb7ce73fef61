"""The Jacobian as tensors."""

from collections.abc import Iterable

from torch import Tensor

from ._differentiate import Names, differentiate


def jac(
    outputs: Tensor | Iterable[Tensor],
    inputs: Tensor | Iterable[Tensor],
    *,
    jac_outputs: Tensor | Iterable[Tensor] | None = None,
    retain_graph: bool = False,
    parallel_chunk_size: int | None = None,
) -> tuple[Tensor, ...]:
    r"""Return the Jacobian of ``outputs`` with respect to each of ``inputs``.

    With :math:`y \in \mathbb{R}^d` the flattened ``outputs`` and :math:`x` one of ``inputs``, the
    result is :math:`\partial y / \partial x`, of shape ``[d, *x.shape]``; with ``jac_outputs``
    :math:`V`, of ``m`` rows, it is :math:`V \, \partial y / \partial x`, of shape
    ``[m, *x.shape]``.

    :param outputs: What to differentiate, of any shapes.
    :param inputs: With respect to which tensors. One that the outputs do not depend on has a
        Jacobian of zeros.
    :param jac_outputs: For each output, a tensor of shape ``[m, *output.shape]``, of its dtype.
        Default: the identity.
    :param retain_graph: Whether to keep the graph for another backward pass.
    :param parallel_chunk_size: The most rows to differentiate at a time; 1 for row by row.
        Default: chosen by the size of the graph.
    :returns: For each input, a tensor of its dtype, on its device, in storage of its own.
    :raises TypeError: If an argument is of a wrong type, or of a dtype that is not real floating.
    :raises ValueError: If a tensor does not require grad, is empty, or has a wrong shape; or an
        input appears twice.
    :raises RuntimeError: If the graph was freed, holds a reentrant checkpoint, or a compiled region
        that overwrites what it saved.

    >>> import torch
    >>> from torchjd.autojac import jac
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> jac([x.sum(), x.prod()], x)
    (tensor([[1., 1.],
            [2., 1.]]),)
    """
    found = differentiate(
        outputs,
        inputs,
        jac_outputs,
        names=Names("outputs", "inputs", "jac_outputs"),
        retain_graph=retain_graph,
        parallel_chunk_size=parallel_chunk_size,
    )
    return tuple(found.jacobians)
