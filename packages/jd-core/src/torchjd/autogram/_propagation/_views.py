"""Nodes that rearrange elements, without computing anything."""

from torchjd.autogram._layout import Layout

from ._node import Found, Joint, Rule, Saver, alike, at, input_shape, moved, output_shape, wrapped


def reshaped(node: Saver, layout: Layout, batch: int) -> Found:
    """Keep the order of the elements and change only the sizes.

    The sample of the ``i``-th element is ``i // stride % batch`` on both sides, so that samples
    sit in that dimension of the input, if there is one, which gives them the same stride.
    """
    entering = input_shape(node, 0)
    if entering is None:
        return None
    shape = output_shape(node)
    stride = 1
    for size in shape[layout.dim + 1 :]:
        stride *= size
    if not layout.inner:
        stride *= shape[layout.dim] // batch
    behind = 1
    found = None
    for dim in range(len(entering) - 1, -1, -1):
        size = entering[dim]
        if size % batch == 0 and size:
            if behind * size == stride * batch:
                found = at(dim, False)
            elif behind == stride:
                found = at(dim, True)
            # A single sample fits in many places, of which one of its own is the best.
            if found is not None and (batch > 1 or size == 1):
                break
        behind *= size
    return None if found is None else {0: found}


def transposed(node: Saver, layout: Layout, _batch: int) -> Found:
    """Swap two dimensions."""
    ndim = len(output_shape(node))
    first = wrapped(node._saved_dim0, ndim)
    second = wrapped(node._saved_dim1, ndim)
    if layout.dim == first:
        return {0: moved(layout, second)}
    return {0: moved(layout, first) if layout.dim == second else layout}


def turned(node: Saver, layout: Layout, _batch: int) -> Found:
    """Swap the two dimensions of a matrix; a vector stays as it is."""
    matrix = len(output_shape(node)) == 2
    return {0: moved(layout, 1 - layout.dim) if matrix else layout}


def permuted(node: Saver, layout: Layout, _batch: int) -> Found:
    """Put the dimensions into another order."""
    dims = node._saved_dims
    return {0: moved(layout, wrapped(dims[layout.dim], len(dims)))}


def selected(node: Saver, layout: Layout, _batch: int) -> Found:
    """Remove a dimension, of which one position or each position becomes an output."""
    dim = wrapped(node._saved_dim, len(output_shape(node)) + 1)
    return {0: moved(layout, layout.dim + (dim <= layout.dim))}


def inserted(node: Saver, layout: Layout, _batch: int) -> Found:
    """Put an input into a new dimension."""
    dim = wrapped(node._saved_dim, len(output_shape(node)))
    if dim == layout.dim:
        return None
    inside = moved(layout, layout.dim - (dim < layout.dim))
    return {i: inside for i, (source, _) in enumerate(node.next_functions) if source is not None}


def sliced(node: Saver, layout: Layout, _batch: int) -> Found:
    """Keep a part of a dimension, which may be that of the samples only if it is kept whole."""
    shape = output_shape(node)
    dim = wrapped(node._saved_dim, len(shape))
    if dim == layout.dim and node._saved_self_sym_sizes[dim] != shape[dim]:
        return None
    return {0: layout}


def repeated(node: Saver, layout: Layout, batch: int) -> Found:
    """Repeat dimensions, new ones in front among them."""
    repeats = node._saved_repeats
    sizes = node._saved_self_sym_sizes
    dim = layout.dim - len(repeats) + len(sizes)
    copies = repeats[layout.dim]
    size = sizes[dim] if dim >= 0 else 1
    if copies == 1 and dim >= 0:
        return {0: moved(layout, dim)}
    rest = copies * size // batch
    if size % batch == 0 and size and dim >= 0 and (layout.inner or rest == 1):
        return {0: at(dim, size != batch)}
    # Whole copies in each sample: every element of the input sums over all samples.
    return {} if size == 1 or (not layout.inner and rest % size == 0) else None


def diagonal(node: Saver, layout: Layout, _batch: int) -> Found:
    """Replace two dimensions by their diagonal, which comes last."""
    ndim = len(output_shape(node))
    if layout.dim == ndim - 1:
        return None
    dim = layout.dim
    for gone in sorted((wrapped(node._saved_dim1, ndim + 1), wrapped(node._saved_dim2, ndim + 1))):
        dim += gone <= dim
    return {0: moved(layout, dim)}


def padded(node: Saver, layout: Layout, _batch: int) -> Found:
    """Pad with a constant, or cut off, all dimensions but that of the samples."""
    pad = node._saved_pad
    place = 2 * (len(output_shape(node)) - 1 - layout.dim)
    return {0: layout} if not any(pad[place : place + 2]) else None


def before(trailing: int) -> Rule:
    """Return the rule of nodes that use their last dimensions only and keep the others apart."""

    def rule(node: Saver, layout: Layout, _batch: int) -> Found:
        return {0: layout} if layout.dim < len(output_shape(node)) - trailing else None

    return rule


def _unwound(node: Saver, layout: Layout, _batch: int) -> Found:
    """Undo a choice along one dimension, of which the rest is filled with zeros."""
    dim = wrapped(node._saved_dim, len(output_shape(node)))
    return {0: layout} if layout.dim != dim else None


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "ViewBackward0",
            "UnsafeViewBackward0",
            "ReshapeAliasBackward0",
            "ReshapeCopyBackward0",
            "SqueezeBackward0",
            "SqueezeBackward1",
            "SqueezeBackward2",
            "SqueezeBackward3",
            "SqueezeBackward4",
            "SqueezeBackward5",
            "UnsqueezeBackward0",
            "UnsqueezeBackward1",
        ),
        reshaped,
    ),
    "TransposeBackward0": transposed,
    "TransposeBackward1": transposed,
    "TBackward0": turned,
    "TBackward1": turned,
    "PermuteBackward0": permuted,
    "SelectBackward0": selected,
    "SelectBackwardBackward0": inserted,
    "StackBackward0": inserted,
    "SliceBackward0": sliced,
    "NarrowCopyBackward0": sliced,
    "SliceBackwardBackward0": _unwound,
    "RepeatBackward0": repeated,
    "DiagonalBackward0": diagonal,
    "ConstantPadNdBackward0": padded,
    "ViewAsRealBackward0": before(1),
    "ViewAsComplexBackward0": before(0),
    "PixelShuffleBackward0": before(3),
    "PixelUnshuffleBackward0": before(3),
}

JOINT: dict[str, Joint] = {
    "UnbindBackward0": alike(selected),
    **dict.fromkeys(
        (
            "SplitBackward0",
            "UnsafeSplitBackward0",
            "SplitWithSizesBackward0",
            "UnsafeSplitWithSizesBackward0",
        ),
        alike(sliced),
    ),
}
