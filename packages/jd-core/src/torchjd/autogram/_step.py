"""One pass: the Gramian, and what the weighted gradient is made from."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ._collector import Collector
from ._fallback import fallback
from ._order import Losses
from ._parameters import leaves_below
from ._pass import Visit
from ._plan import Plan
from ._rowwise import add_gramian_rowwise
from ._rules._call import Call
from ._rules._checked import checked
from ._rules._registry import rule_of
from ._tasks import pass_with_tasks
from ._uses._use import Use
from ._watch import Watch


@dataclass(frozen=True)
class Result:
    """What one pass computed.

    :ivar gramian: Of shape ``[m, m]``, in the order of the flattened losses.
    :ivar kept: For each leaf, from what its weighted gradient is computed.
    """

    gramian: Tensor
    kept: list[tuple[Tensor, Use]]


def execute(plan: Plan, keep: int, retain_graph: bool, watch: Watch, rows_budget: int) -> Result:
    """Compute what ``plan`` says.

    :param plan: How.
    :param keep: The most bytes that are kept of a use of a parameter.
    :param retain_graph: Whether to keep the graph.
    :param watch: What looks on.
    :param rows_budget: The bytes that the rows of the leaves computed by rows may take, at least.
    """
    m = plan.output.numel()
    gramian = torch.zeros(m, m, dtype=plan.dtype, device=plan.output.device)
    kept = _by_rules(plan, gramian, keep, retain_graph, watch)
    if plan.rowwise:
        with watch.counting(plan.rowwise):
            add_gramian_rowwise(gramian, plan.output, plan.rowwise, rows_budget)
    return Result(gramian, kept)


def _by_rules(
    plan: Plan, gramian: Tensor, keep: int, retain_graph: bool, watch: Watch
) -> list[tuple[Tensor, Use]]:
    """Add the part of the parameters that rules serve; return what is kept of them."""
    losses = plan.losses
    if not plan.consumers or losses is None:
        return []
    expected = Counter(edge for read in plan.consumers.values() for edge in read.values())
    outside_rows = [leaf for leaf in plan.inside if all(leaf is not row for row in plan.rowwise)]
    collectors: list[Collector] = []

    def new_visit() -> Visit:
        watch.begin()
        collectors.append(
            Collector(plan.graph, expected, outside_rows, torch.zeros_like(gramian), keep, watch)
        )
        return _visitor(plan, losses, collectors[-1], watch)

    pass_with_tasks(plan, new_visit, retain_graph)
    collector = collectors[-1]
    gramian += losses.flat(collector.finish())
    return collector.kept


def _visitor(plan: Plan, losses: Losses, collector: Collector, watch: Watch) -> Visit:
    def visit(node: Node, cotangents: list[Tensor | None]) -> None:
        read = plan.consumers[node]
        call = Call(
            node=node,
            tasks=losses.tasks,
            batch=losses.batch,
            cotangents=cotangents,
            layouts=plan.placement.layouts[node],
            wanted={slot: plan.graph.shape(edge) for slot, edge in read.items()},
            dtype=plan.dtype,
        )
        leaves = [leaf for edge in read.values() for leaf in leaves_below(plan.graph, edge)]
        with watch.counting(leaves):
            by, uses = _uses(call)
        watch.served(call.name, by, leaves)
        for slot, use in uses.items():
            collector.add(read[slot], use)

    return visit


def _uses(call: Call) -> tuple[str | None, Mapping[int, Use]]:
    """Return the uses of the wanted inputs, and the name of the rule if there is one for them."""
    rule = rule_of(call.name)
    is_complex = any(c is not None and c.is_complex() for c in call.cotangents)
    uses = None if rule is None or is_complex else rule(call)
    if rule is None or uses is None:
        return None, fallback(call)
    if not rule.__module__.startswith("torchjd.autogram."):
        uses = checked(call, uses, call.name)
    return getattr(rule, "__name__", type(rule).__name__), uses
