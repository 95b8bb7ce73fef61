"""One backward pass, in which the cotangents of chosen nodes are seen."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from ._graph import Graph, shapes

Visit = Callable[[Node, list[Tensor | None]], None]
"""What is done at a node with the cotangents of its outputs, of shape ``[tasks, *shape]`` each."""


def pull_back(
    output: Tensor,
    cotangents: Tensor,
    graph: Graph,
    nodes: Sequence[Node],
    visit: Visit,
    retain_graph: bool,
) -> None:
    """Pull cotangents back to ``nodes``, without computing the gradient of any parameter.

    A node that others lie below is visited before it runs, within the pass; the lowest ones do not
    run, and are visited when the pass is over.

    :param output: The losses.
    :param cotangents: Of shape ``[tasks, *output.shape]``; pulled back together.
    :param graph: The graph between the losses and the parameters.
    :param nodes: The nodes to visit.
    :param visit: What to do there.
    :param retain_graph: Whether to keep the graph.
    """
    tasks = cotangents.shape[0]
    lowest = _lowest(graph, nodes)
    edges = [GradientEdge(node, i) for node in lowest for i in range(len(shapes(node)))]
    with ExitStack() as stack:
        for node in nodes:
            if node not in lowest:
                stack.callback(node.register_prehook(_hook(node, visit, tasks)).remove)
        grads = torch.autograd.grad(
            output,
            edges,
            cotangents[0] if tasks == 1 else cotangents,
            retain_graph=retain_graph,
            allow_unused=True,
            is_grads_batched=tasks > 1,
        )
    captured: list[Tensor | None] = [
        grad[None] if grad is not None and tasks == 1 else grad for grad in grads
    ]
    for node in reversed(lowest):
        count = len(shapes(node))
        own: list[Tensor | None] = captured[-count:]
        del captured[-count:]
        if any(grad is not None for grad in own):
            visit(node, own)


def _hook(node: Node, visit: Visit, tasks: int) -> Callable[[tuple[Tensor | None, ...]], None]:
    def hook(grads: tuple[Tensor | None, ...]) -> None:
        visit(node, [None if grad is None else _with_tasks(grad, tasks) for grad in grads])

    return hook


def _with_tasks(grad: Tensor, tasks: int) -> Tensor:
    """Return a gradient seen within the pass with its dimension of the tasks."""
    if tasks == 1:
        return grad.detach().unsqueeze(0)
    # Several cotangents at a time: autograd hands out wrappers, one level deep.
    return torch._remove_batch_dim(grad, 1, tasks, 0).detach()


def _lowest(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """Return those of ``nodes`` below which there is no other one."""
    visited = set(nodes)
    above: set[Node] = set()
    lowest = []
    for node in reversed(graph.order):
        below = any(
            edge is not None and (edge.node in visited or edge.node in above)
            for edge in graph.inputs[node]
        )
        if below:
            above.add(node)
        elif node in visited:
            lowest.append(node)
    return lowest
