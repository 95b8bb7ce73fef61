"""The Jacobian into ``.jac``."""

from collections.abc import Iterable

from torch import Tensor

from ._accumulation import add_to_jacobians, check_jacobian_room
from ._differentiate import Names, differentiate
from ._scaling import finite_rows


def backward(
    tensors: Tensor | Iterable[Tensor],
    /,
    *,
    jac_tensors: Tensor | Iterable[Tensor] | None = None,
    inputs: Tensor | Iterable[Tensor] | None = None,
    retain_graph: bool = False,
    parallel_chunk_size: int | None = None,
    row_scales: Tensor | None = None,
) -> Tensor | None:
    r"""Accumulate the Jacobian of ``tensors`` in the ``.jac`` of each of ``inputs``.

    With :math:`y \in \mathbb{R}^d` the flattened ``tensors``, :math:`\partial y / \partial x`, of
    shape ``[d, *x.shape]``, is added to the ``.jac`` of each input :math:`x`; with ``jac_tensors``
    :math:`V`, of ``m`` rows, :math:`V \, \partial y / \partial x`. Nothing is written unless all of
    it succeeded.

    :param tensors: What to differentiate, of any shapes; usually the losses.
    :param jac_tensors: For each tensor, a tensor of shape ``[m, *tensor.shape]``, of its dtype.
        Default: the identity.
    :param inputs: The tensors whose ``.jac`` is written. Default: all leaves of the graph of
        ``tensors``. One that no tensor depends on has a Jacobian of zeros.
    :param retain_graph: Whether to keep the graph for another backward pass.
    :param parallel_chunk_size: The most rows to differentiate at a time; 1 for row by row.
        Default: chosen by the size of the graph.
    :param row_scales: For each row, a positive number that its cotangent is multiplied by, and the
        row is divided by before it is added: the Jacobian is the same, but what half precision
        holds on the way neither under- nor overflows. :class:`jd_amp.JacobianScaler` finds them.
    :returns: With ``row_scales``, whether each row is finite, a bool tensor of shape ``[m]``; else
        None.
    :raises TypeError: If an argument is of a wrong type, or of a dtype that is not real floating;
        or an input is of float16 with ``row_scales``.
    :raises ValueError: If a tensor does not require grad, is empty, or has a wrong shape; an input
        appears twice; a ``.jac`` has another number of rows; or ``row_scales`` have, or one is not
        positive.
    :raises RuntimeError: If the graph was freed, holds a reentrant checkpoint, or a compiled region
        that overwrites what it saved.

    >>> import torch
    >>> from torchjd.autojac import backward
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> backward([x.sum(), x.prod()])
    >>> x.jac
    tensor([[1., 1.],
            [2., 1.]])
    """
    found = differentiate(
        tensors,
        inputs,
        jac_tensors,
        names=Names("tensors", "inputs", "jac_tensors"),
        retain_graph=retain_graph,
        parallel_chunk_size=parallel_chunk_size,
        check=lambda written, m: check_jacobian_room(written, m, "inputs"),
        row_scales=row_scales,
    )
    finite = None if row_scales is None else finite_rows(found.jacobians)
    add_to_jacobians(found.inputs, found.jacobians)()
    return finite
