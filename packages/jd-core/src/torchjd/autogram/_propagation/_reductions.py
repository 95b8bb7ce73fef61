"""Nodes that work along some dimensions, which must not be that of the samples."""

from torchjd.autogram._layout import Layout

from ._elementwise import broadcast
from ._node import (
    Found,
    Joint,
    Rule,
    Saver,
    alike,
    input_shapes,
    moved,
    named,
    output_shape,
    wrapped,
)


def reduced(node: Saver, layout: Layout, _batch: int) -> Found:
    """Remove some dimensions, or keep them with one element each."""
    dims = node._saved_dim
    if isinstance(dims, int):
        dims = (dims,)
    if not dims:
        # No dimension stands for all of them.
        return None
    shape = output_shape(node)
    if node._saved_keepdim:
        ndim = len(shape)
        kept = all(wrapped(dim, ndim) != layout.dim for dim in dims)
        return {0: layout} if kept else None
    ndim = len(shape) + len(dims)
    place = layout.dim
    for dim in sorted([wrapped(dim, ndim) for dim in dims]) if len(dims) > 1 else dims:
        place += wrapped(dim, ndim) <= place
    return {0: moved(layout, place)}


def _apart(node: Saver, layout: Layout, name: str) -> bool:
    """Whether the dimensions that ``node`` saved under ``name`` are not that of the samples."""
    dims = getattr(node, name)
    ndim = len(output_shape(node))
    if isinstance(dims, int):
        return wrapped(dims, ndim) != layout.dim
    # None or no dimension stands for all of them.
    return bool(dims) and all(wrapped(dim, ndim) != layout.dim for dim in dims)


def along(name: str = "_saved_dim") -> Rule:
    """Return the rule of nodes of one input that work along the dimensions under ``name``."""

    def rule(node: Saver, layout: Layout, _batch: int) -> Found:
        return {0: layout} if _apart(node, layout, name) else None

    return rule


def beside(node: Saver, layout: Layout, _batch: int) -> Found:
    """Work along one dimension with inputs that lie side by side in all others."""
    if not _apart(node, layout, "_saved_dim"):
        return None
    shape = output_shape(node)
    found = {}
    for index, entering in input_shapes(node):
        # Where an index is smaller than what it points into, only a part of it is reached.
        if len(entering) != len(shape) or entering[layout.dim] != shape[layout.dim]:
            return None
        found[index] = layout
    return found


def _filled(node: Saver, layout: Layout, batch: int) -> Found:
    """Work along one dimension with inputs that are broadcast in all others."""
    return broadcast(node, layout, batch) if _apart(node, layout, "_saved_dim") else None


def _windows(node: Saver, layout: Layout, _batch: int) -> Found:
    """Cut a dimension into windows, whose positions come last."""
    ndim = len(output_shape(node)) - 1
    dim = wrapped(node._saved_dimension, ndim)
    return {0: layout} if layout.dim not in (dim, ndim) else None


def _renormed(node: Saver, layout: Layout, _batch: int) -> Found:
    """Bound the norm of each slice, so that samples must not share one."""
    dim = wrapped(node._saved_dim, len(output_shape(node)))
    return {0: layout} if layout.dim == dim else None


_ALONG = """
Cummax0 Cummin0 Cumprod0 Cumsum0 FftC2C0 FftC2R0 FftR2C0 Glu0 IndexFill0 IndexSelect0 LogSoftmax0
Logcumsumexp0 MaskedSoftmax0 SafeSoftmax0 Softmax0 Sort0 Sort1 Topk0
"""
_BESIDE = """
Cat0 Gather0 IndexAdd0 IndexCopy0 LogSoftmaxBackwardData0 Scatter0 Scatter1 ScatterAdd0
ScatterReduce0 SliceScatter0 SoftmaxBackwardData0
"""
_REDUCED = """
Amax0 Amin0 Kthvalue0 LinalgVectorNorm0 Logsumexp0 Max0 Mean1 Median1 Min0 Mode0 Nanmedian1 Nansum0
Norm1 Norm3 Prod1 Std0 Sum1 Var0
"""


RULES: dict[str, Rule] = {
    **named(_REDUCED, reduced),
    **named(_ALONG, along()),
    **named(_BESIDE, beside),
    "FlipBackward0": along("_saved_dims"),
    "RollBackward0": along("_saved_dims"),
    "Rot90Backward0": along("_saved_dims"),
    "IndexFillBackward1": _filled,
    "LinalgCrossBackward0": _filled,
    "UnfoldBackward0": _windows,
    "RenormBackward0": _renormed,
}

JOINT: dict[str, Joint] = {
    "AminmaxBackward0": alike(reduced),
    "StdMeanBackward0": alike(reduced),
    "VarMeanBackward0": alike(reduced),
}
