"""The proof of one node."""

from collections.abc import Mapping, Sequence

from torch.autograd.graph import Node

from torchjd.autogram._layout import Layout

from . import _elementwise, _products, _recurrent, _reductions, _samplewise, _views
from ._node import Joint, Rule

_RULES: dict[str, Rule] = {
    **_elementwise.RULES,
    **_views.RULES,
    **_reductions.RULES,
    **_products.RULES,
    **_samplewise.RULES,
}
_JOINT: dict[str, Joint] = {
    **_views.JOINT,
    **_reductions.JOINT,
    **_samplewise.JOINT,
    **_recurrent.JOINT,
}


def propagate(
    node: Node, layouts: Sequence[Layout | None], batch: int
) -> Mapping[int, Layout] | None:
    """Return where the samples sit in the gradients of the inputs of a node.

    The proof reads sizes and numbers, never a tensor, so that it holds whatever values the node
    saved: the gradient of the loss of a sample is zero outside the positions of that sample.

    :param node: A node of the graph.
    :param layouts: For each output, where the samples sit in its cotangent; None where it has none.
    :param batch: The number of samples.
    :returns: From the number of each input that needs a gradient to where the samples sit in it.
        An input is left out if its gradient sums over samples, as that of a weight does. None if
        nothing is proved of a node of this kind, or with these sizes.
    """
    kind = type(node).__name__
    rule = _RULES.get(kind)
    if rule is None:
        joint = _JOINT.get(kind)
        return joint(node, layouts, batch) if joint is not None else None
    layout = layouts[0]
    # Other outputs of these nodes are by-products, which lie otherwise than the first.
    if layout is None or (len(layouts) > 1 and any(other is not None for other in layouts[1:])):
        return None
    return rule(node, layout, batch)
