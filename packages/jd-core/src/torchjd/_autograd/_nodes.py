"""Nodes of the autograd graph: what they are, and where gradients enter them."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node, get_gradient_edge


class Edge(NamedTuple):
    """One output of a node: where the gradient with respect to a tensor enters the graph."""

    node: Node
    output: int


def edge_of(tensor: Tensor) -> Edge:
    """Return the edge of a tensor that requires grad."""
    # The edge of a custom Function also carries an ownership token, which makes equal edges
    # compare unequal: only the node and the number are kept.
    edge = get_gradient_edge(tensor)
    return Edge(edge.node, edge.output_nr)


def kind(node: Node) -> str:
    """Return the name of the kind of ``node``, such as ``"AddmmBackward0"``."""
    # Not `node.name()`: the node of a custom Function is its `ctx`, on which users set attributes.
    return type(node).__name__


def is_leaf(node: Node) -> bool:
    """Whether ``node`` accumulates the gradient of a leaf."""
    return kind(node) == "AccumulateGrad"


def is_opaque(node: Node) -> bool:
    """Whether ``node`` is a function of many parts, such as a compiled region, seen as one."""
    return isinstance(node, BackwardCFunction)


def refuse_reentrant(kinds: Iterable[str], what: str) -> None:
    """Refuse a graph in which autograd cannot see what is within.

    :param kinds: The kinds of the nodes of the graph.
    :param what: What is computed: it begins the message.
    :raises RuntimeError: If a reentrant checkpoint is in the graph.
    """
    found = sorted(name for name in kinds if "CheckpointFunctionBackward" in name)
    if found:
        raise RuntimeError(
            f"{what} needs activation checkpoints that are not reentrant: autograd gives no "
            f"gradient with respect to what is within a reentrant one. Got a {found[0]} node. "
            "Pass `use_reentrant=False` to `torch.utils.checkpoint.checkpoint`."
        )
