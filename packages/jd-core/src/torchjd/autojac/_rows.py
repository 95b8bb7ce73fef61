"""The rows of a Jacobian, written into one buffer for each input."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._cotangents import Cotangents
from ._scaling import RowScaling

Fill = Callable[[Cotangents, Sequence[Tensor], Sequence[Tensor], bool], None]
"""Write the rows of ``cotangents`` with respect to inputs into buffers; keep the graph, or not."""


def new_buffers(m: int, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return one tensor of shape ``[m, *input.shape]`` for each input, not initialised."""
    return [
        torch.empty((m, *tensor.shape), dtype=tensor.dtype, device=tensor.device)
        for tensor in inputs
    ]


def fill_by_loop(
    cotangents: Cotangents,
    inputs: Sequence[Tensor],
    buffers: Sequence[Tensor],
    retain_graph: bool,
    first: int = 0,
) -> None:
    """Write the rows from ``first`` on, one backward pass each.

    :param cotangents: What is pulled back.
    :param inputs: With respect to which tensors.
    :param buffers: One tensor of shape ``[m, *input.shape]`` for each input.
    :param retain_graph: Whether the graph is kept after the last row.
    """
    targets = list(zip(*(buffer.unbind(0) for buffer in buffers), strict=True))
    for r in range(first, cotangents.m):
        # Nothing holds the gradients of this row while those of the next are computed.
        write_all(
            targets[r],
            pull(cotangents, r, inputs, retain_graph or cotangents.needs_graph_after(r)),
            cotangents.scaling,
            r,
        )


def pull(
    cotangents: Cotangents, r: int, inputs: Sequence[Tensor], retain_graph: bool
) -> Sequence[Tensor | None]:
    """Return row ``r`` with respect to each input, as it comes out of the pass.

    None where the output does not depend on the input.
    """
    outputs, starts = cotangents.row(r)
    return torch.autograd.grad(
        outputs, inputs, starts, retain_graph=retain_graph, allow_unused=True
    )


def first_row(cotangents: Cotangents, inputs: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the first row as it is written, and keep the graph."""
    grads = pull(cotangents, 0, inputs, retain_graph=True)
    scaling = cotangents.scaling
    if scaling is None:
        return grads
    return [None if grad is None else scaling.divide(grad, 0) for grad in grads]


def fill_by_batches(chunk_size: int) -> Fill:
    """Return what writes the rows ``chunk_size`` at a time, and the last one by itself.

    The last row is an ordinary backward pass: it frees the graph if it is not to be kept, which a
    batched pass may do only where it cannot fail; after a failure, the loop still has its graph.
    """

    def fill(
        cotangents: Cotangents,
        inputs: Sequence[Tensor],
        buffers: Sequence[Tensor],
        retain_graph: bool,
    ) -> None:
        last = cotangents.m - 1
        for start in range(0, last, chunk_size):
            stop = min(start + chunk_size, last)
            outputs, starts = cotangents.rows(start, stop)
            write_all(
                [buffer[start:stop] for buffer in buffers],
                torch.autograd.grad(
                    outputs,
                    inputs,
                    starts,
                    retain_graph=True,
                    allow_unused=True,
                    is_grads_batched=True,
                ),
                cotangents.scaling,
                slice(start, stop),
            )
        fill_by_loop(cotangents, inputs, buffers, retain_graph, first=last)

    return fill


def write_all(
    targets: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    scaling: RowScaling | None,
    rows: int | slice,
) -> None:
    """Write each gradient, dense or sparse, into its target; zeros where there is none.

    :param targets: Of one row, or of several.
    :param grads: What came out for them.
    :param scaling: By what they are divided on the way, if anything.
    :param rows: Which rows they are.
    """
    for target, grad in zip(targets, grads, strict=True):
        if grad is None:
            target.zero_()
            continue
        dense = grad if grad.layout == torch.strided else grad.to_dense()
        if scaling is None:
            target.copy_(dense)
        else:
            scaling.write(target, dense, rows)
