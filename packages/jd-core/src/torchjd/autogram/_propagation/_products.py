"""Products of matrices, whose factors are apart in the dimensions that are not contracted."""

from torchjd.autogram._layout import Layout

from ._node import Found, Rule, Saver, at, input_shape, input_shapes, moved, output_shape, present


def _added(node: Saver, layout: Layout) -> dict[int, Layout]:
    """Return the layout of the first input, which is broadcast; nothing if it sums over samples."""
    entering = input_shape(node, 0)
    if entering is None:
        return {}
    shape = output_shape(node)
    dim = layout.dim - len(shape) + len(entering)
    if dim < 0 or entering[dim] != shape[layout.dim]:
        return {}
    return {0: moved(layout, dim)}


def matrices(first: int, batched: bool) -> Rule:
    """Return the rule of a product of inputs ``first`` and ``first + 1``, added to those before.

    A factor that lacks the dimension of the samples is multiplied along it in the backward pass:
    its gradient sums over them.
    """

    def rule(node: Saver, layout: Layout, _batch: int) -> Found:
        inputs = node.next_functions
        found = _added(node, layout) if first else {}
        row = layout.dim - batched
        if row <= 0 and inputs[first][0] is not None:
            found[first] = layout
        if row != 0 and inputs[first + 1][0] is not None:
            found[first + 1] = layout
        return found

    return rule


def _outer(node: Saver, layout: Layout, _batch: int) -> Found:
    """Add the product of two vectors."""
    vector = 1 + layout.dim
    return _added(node, layout) | present(node, {vector: at(0, layout.inner)})


def _summed(node: Saver, layout: Layout, _batch: int) -> Found:
    """Add the sum of a batch of products of matrices."""
    factor = 1 + layout.dim
    return _added(node, layout) | present(node, {factor: moved(layout, layout.dim + 1)})


def _linear(node: Saver, layout: Layout, _batch: int) -> Found:
    """Multiply each row by the transpose of a weight, and add a bias."""
    if layout.dim < len(output_shape(node)) - 1:
        return present(node, {0: layout})
    return present(node, {1: at(0, layout.inner), 2: at(0, layout.inner)})


def _trilinear(node: Saver, layout: Layout, _batch: int) -> Found:
    """Multiply three tensors, each with dimensions of one element added, and sum over some."""
    summed = node._saved_sumdim
    place = layout.dim
    for dim in sorted(summed):
        place += dim <= place
    size = output_shape(node)[layout.dim]
    found = {}
    for index, entering in input_shapes(node):
        added = getattr(node, f"_saved_expand{index + 1}")
        if place in added:
            continue
        dim = place - sum(new < place for new in added)
        if entering[dim] == size:
            found[index] = moved(layout, dim)
        elif entering[dim] != 1:
            return None
    return found


def _distances(node: Saver, layout: Layout, _batch: int) -> Found:
    """Compare each row of the first input with each of the second."""
    shape = output_shape(node)
    ndim = len(shape)
    found = {}
    for index, entering in input_shapes(node):
        if layout.dim >= ndim - 2:
            if layout.dim == ndim - 2 + index:
                found[index] = moved(layout, len(entering) - 2)
            continue
        dim = layout.dim - ndim + len(entering)
        if dim >= 0 and entering[dim] == shape[layout.dim]:
            found[index] = moved(layout, dim)
        elif dim >= 0 and entering[dim] != 1:
            return None
    return found


RULES: dict[str, Rule] = {
    "MmBackward0": matrices(0, False),
    "MvBackward0": matrices(0, False),
    "AddmmBackward0": matrices(1, False),
    "AddmvBackward0": matrices(1, False),
    "BmmBackward0": matrices(0, True),
    "BaddbmmBackward0": matrices(1, True),
    "AddrBackward0": _outer,
    "AddbmmBackward0": _summed,
    "LinearBackward0": _linear,
    "MkldnnLinearBackward0": _linear,
    "TrilinearBackward0": _trilinear,
    "CdistBackward0": _distances,
    "EuclideanDistBackward0": _distances,
}
