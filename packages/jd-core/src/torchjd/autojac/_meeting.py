"""Where the graphs of several losses meet."""

from collections.abc import Sequence

from torch.autograd.graph import Node

from torchjd._autograd._nodes import Edge, is_leaf

_SEVERAL = -1


def leaves_of_several(roots: Sequence[Edge]) -> set[int]:
    """Return the ids of the leaves that two of ``roots``, or more, depend on.

    Each node is entered twice at most: by the first root that reaches it, and once more when
    another does.

    :param roots: Where the losses are.
    """
    owners: dict[Node, int] = {}
    stack = [(root.node, i) for i, root in enumerate(roots)]
    while stack:
        node, root_index = stack.pop()
        owner = owners.get(node)
        if owner in (root_index, _SEVERAL):
            continue
        found = root_index if owner is None else _SEVERAL
        owners[node] = found
        stack += [(below, found) for below, _ in node.next_functions if below is not None]
    return {
        id(node.variable)  # type: ignore[attr-defined]
        for node, owner in owners.items()
        if owner == _SEVERAL and is_leaf(node)
    }
