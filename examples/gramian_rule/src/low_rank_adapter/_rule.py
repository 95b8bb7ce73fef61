"""The rule of the adapter: the gradients of each sample with respect to its matrices."""

from collections.abc import Mapping

from torchjd.autogram.rules import Call, OuterProducts, Use

WEIGHT, DOWN, UP = 1, 2, 3  # the places of the tensors among the arguments


def low_rank_adapter(call: Call) -> Mapping[int, Use] | None:
    layout = call.layout
    x, _, down, up = call.node.saved_tensors  # the node is the `ctx` of the forward pass
    if layout is None or layout.dim == x.ndim - 1 or not call.wanted.keys() <= {WEIGHT, DOWN, UP}:
        return None
    down, up = down.to(call.dtype), up.to(call.dtype)
    # Whatever else is in front of the features is a term t of the sum over outer products.
    A = layout.front(x.to(call.dtype), call.batch).reshape(call.batch, -1, x.shape[-1])
    B = call.per_sample().reshape(call.tasks, call.batch, -1, up.shape[0])
    scaled = call.node.scale * B
    uses = {
        WEIGHT: OuterProducts(A, B),
        DOWN: OuterProducts(A, scaled @ up),
        UP: OuterProducts(A @ down.T, scaled),
    }
    return {number: uses[number] for number in call.wanted}
