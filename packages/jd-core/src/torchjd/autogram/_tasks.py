"""The passes for several losses a sample: all at a time, or one after the other."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from ._checkpoint import recomputed_once
from ._graph import shapes
from ._pass import Visit, pull_back
from ._plan import Plan

_batchable: set[frozenset[str]] = set()
_unbatchable: set[frozenset[str]] = set()

# What autograd raises where a node cannot take several cotangents at a time.
_CANNOT = (RuntimeError, NotImplementedError, ValueError, TypeError)


def pass_with_tasks(plan: Plan, new_visit: Callable[[], Visit], retain_graph: bool) -> None:
    """Visit the nodes that rules serve with the cotangents of all tasks.

    :param plan: How the Gramian is computed.
    :param new_visit: Returns what is done at a node; called once more where a first attempt fails.
    :param retain_graph: Whether to keep the graph.
    """
    kinds = plan.graph.names
    if _tasks(plan) == 1 or kinds in _batchable:
        _together(plan, new_visit(), retain_graph)
        return
    # A pass that fails must leave the graph for those that follow.
    if kinds not in _unbatchable and not plan.graph.has_python:
        with suppress(*_CANNOT):
            _together(plan, new_visit(), retain_graph=True)
            _batchable.add(kinds)
    if kinds not in _batchable:
        # What is wrong with the graph itself is raised here, in torch's own words.
        _one_by_one(plan, new_visit())
        _unbatchable.add(kinds)
    if not retain_graph:
        _free(plan)


def _tasks(plan: Plan) -> int:
    return 1 if plan.losses is None else plan.losses.tasks


def _together(plan: Plan, visit: Visit, retain_graph: bool) -> None:
    if plan.losses is not None:
        cotangents = plan.losses.cotangents(plan.output)
        with recomputed_once(_read_again(plan)):
            nodes = list(plan.consumers)
            pull_back(plan.output, cotangents, plan.graph, nodes, visit, retain_graph)


def _one_by_one(plan: Plan, visit: Visit) -> None:
    """Visit the nodes once all of their cotangents are there, of one backward pass a task."""
    if plan.losses is None:
        return
    edges = _edges(list(plan.consumers))
    passes = [
        torch.autograd.grad(plan.output, edges, cotangent, retain_graph=True, allow_unused=True)
        for cotangent in plan.losses.cotangents(plan.output)
    ]
    by_edge = {
        (edge.node, edge.output_nr): _stacked(grads)
        for edge, grads in zip(edges, zip(*passes, strict=True), strict=True)
    }
    with recomputed_once(_read_again(plan)):
        for node in plan.consumers:
            visit(node, [by_edge[node, i] for i in range(len(shapes(node)))])


def _read_again(plan: Plan) -> Iterator[Node]:
    """Yield the nodes of which what they saved is read more than once in a pass."""
    yield from plan.consumers
    # Rows are pulled back through functions of parameters alone one by one.
    yield from plan.placement.parameters


def _stacked(grads: Sequence[Tensor | None]) -> Tensor | None:
    """Return the gradients of all tasks in one tensor; zeros where a task has none."""
    some = next((grad for grad in grads if grad is not None), None)
    if some is None:
        return None
    return torch.stack([torch.zeros_like(some) if grad is None else grad for grad in grads])


def _edges(nodes: list[Node]) -> list[GradientEdge]:
    return [GradientEdge(node, i) for node in nodes for i in range(len(shapes(node)))]


def _free(plan: Plan) -> None:
    """Free what the graph saved, as a backward pass does that does not keep it."""
    edges = _edges(list(plan.consumers))
    zeros = torch.zeros_like(plan.output)
    torch.autograd.grad(plan.output, edges, zeros, allow_unused=True)
