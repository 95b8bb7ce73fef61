"""Recurrent layers in one node, whose outputs are a sequence and the last states."""

from collections.abc import Sequence

from torchjd.autogram._layout import Layout

from ._node import Found, Joint, Saver, at, input_shapes, present


def _inner(node: Saver, layouts: Sequence[Layout | None], sequence: int) -> bool | None:
    """Return which way the samples run in all outputs; None if they are not where they should be.

    States have their samples in the last dimension but one, and so do sequences, unless
    ``sequence`` is another dimension.
    """
    inner = None
    for index, layout in enumerate(layouts):
        if layout is None:
            continue
        shape = node._input_metadata[index].shape
        dim = sequence if index == 0 else len(shape) - 2
        if layout.dim != dim or (inner is not None and layout.inner != inner):
            return None
        inner = layout.inner
    return inner


def _mkldnn(node: Saver, layouts: Sequence[Layout | None], _batch: int) -> Found:
    """One layer in one direction; the node has time first, whatever the layer has."""
    inner = _inner(node, layouts, 1)
    if inner is None or node._saved_batch_sizes:
        return None
    return {
        index: at(len(shape) - 2, inner)
        for index, shape in input_shapes(node)
        if index not in range(1, 5)
    }


def _cudnn(node: Saver, layouts: Sequence[Layout | None], _batch: int) -> Found:
    """All layers; the states come last among the inputs, behind the weights."""
    sequence = 0 if node._saved_batch_first else 1
    inner = _inner(node, layouts, sequence)
    if inner is None or node._saved_batch_sizes:
        return None
    last = len(node.next_functions) - 1
    return present(node, {0: at(sequence, inner), last - 1: at(1, inner), last: at(1, inner)})


def _cell(node: Saver, layouts: Sequence[Layout | None], _batch: int) -> Found:
    """One step, of gates, of an old state, and of biases, whose gradients sum over samples."""
    inner = _inner(node, layouts, 0)
    if inner is None:
        return None
    return present(node, dict.fromkeys(range(3), at(0, inner)))


JOINT: dict[str, Joint] = {
    "MkldnnRnnLayerBackward0": _mkldnn,
    "CudnnRnnBackward0": _cudnn,
    "ThnnFusedLstmCellBackward0": _cell,
    "ThnnFusedGruCellBackward0": _cell,
}
