"""One step: from losses to ``.grad``."""

from collections.abc import Iterable

from torch import Tensor

from torchjd._autograd._gradients import add_to_grads
from torchjd.aggregation import Aggregator
from torchjd.aggregation._inputs import require_inputs
from torchjd.autojac._differentiate import Names, differentiate
from torchjd.autojac._jac_to_grad import aggregate, check_aggregator
from torchjd.autojac._objectives import values
from torchjd.distributed._local import require_single_process


def backward(
    tensors: Tensor | Iterable[Tensor],
    inputs: Tensor | Iterable[Tensor] | None,
    aggregator: Aggregator,
    *,
    jac_tensors: Tensor | Iterable[Tensor] | None = None,
    retain_graph: bool = False,
    parallel_chunk_size: int | None = None,
    cross_gramian: Tensor | None = None,
) -> Tensor | None:
    r"""Compute the Jacobian of ``tensors``, aggregate it, and add the result to ``.grad``.

    With :math:`J` the Jacobian of the flattened ``tensors`` with respect to all of ``inputs``, the
    parts of :math:`\mathcal{A}(J)` are added to the ``.grad`` of each input. No ``.jac`` is written
    or read. An aggregator that needs the values of the objectives is given them. Source: Quinton
    and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.

    :param tensors: What to differentiate, of any shapes; usually the losses, one row an element.
    :param inputs: The tensors whose ``.grad`` is written. None for all leaves of the graph.
    :param aggregator: How to combine the rows.
    :param jac_tensors: For each tensor, a tensor of shape ``[m, *tensor.shape]``, of its dtype.
        Default: the identity.
    :param retain_graph: Whether to keep the graph for another backward pass.
    :param parallel_chunk_size: The most rows to differentiate at a time; 1 for row by row.
        Default: chosen by the size of the graph.
    :param cross_gramian: The Gramian across two batches, of shape ``[m, m]``, for aggregators that
        need it: see :func:`torchjd.linalg.cross_gramian`.
    :returns: The weights, of shape ``[m]`` and at least float32, if the aggregator has them.
    :raises TypeError: If an argument is of a wrong type, or of a dtype that is not real floating;
        or if ``cross_gramian`` is missing and the aggregator needs it.
    :raises ValueError: If a tensor does not require grad, is empty, or has a wrong shape; or an
        input appears twice.
    :raises RuntimeError: If the graph was freed, holds a reentrant checkpoint, or a compiled region
        that overwrites what it saved; or if a process group of several ranks is initialised,
        outside :func:`torchjd.distributed.local`.

    >>> import torch, torchjd
    >>> from torchjd.aggregation import UPGrad
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torchjd.backward([x.sum(), -x.prod()], [x], UPGrad())
    tensor([1.2500, 0.8000])
    >>> x.grad
    tensor([-0.3500,  0.4500])
    """
    require_single_process("torchjd.backward")
    check_aggregator(aggregator)
    require_inputs(aggregator, losses=True, cross_gramian=cross_gramian is not None)
    found = differentiate(
        tensors,
        inputs,
        jac_tensors,
        names=Names("tensors", "inputs", "jac_tensors"),
        retain_graph=retain_graph,
        parallel_chunk_size=parallel_chunk_size,
    )
    losses = values(found.outputs, found.cotangents) if aggregator.needs_losses else None
    parts, weights = aggregate(
        found.jacobians, aggregator, {"losses": losses, "cross_gramian": cross_gramian}
    )
    add_to_grads(found.inputs, parts)()
    return weights
