"""How the Gramian of a graph is computed, as data and as a text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.autograd.graph import Node

from torchjd._autograd._nodes import kind

from ._plan import Plan
from ._watch import Recorder


@dataclass(frozen=True)
class ParameterReport:
    """How one parameter is served.

    :ivar name: Its name in the engine's modules.
    :ivar shape: Its shape.
    :ivar nodes: The kinds of the nodes that read it, each once.
    :ivar served_by: ``"rule"``; ``"fallback"``, where the backward of some node that reads it runs
        once for each loss; ``"rows"``, where a whole backward pass does; or ``"nothing"``, where
        no loss depends on it.
    :ivar flops: The floating-point operations of matrix products and convolutions that its part of
        the Gramian took, beside the backward pass.
    """

    name: str
    shape: tuple[int, ...]
    nodes: tuple[str, ...]
    served_by: str
    flops: float


@dataclass(frozen=True)
class Report:
    """How the Gramian of the losses at hand is computed; ``str(report)`` is a table.

    :ivar losses: The shape of the losses.
    :ivar parameters: How each parameter is served.
    :ivar flops: The floating-point operations of matrix products and convolutions of computing the
        Gramian, beside the backward pass.
    :ivar mixed_by: What mixes the samples, so that the parameters below are computed by rows.
    :ivar probed_for: The kinds of nodes of which it is not known how they treat the samples: at
        each step, two more backward passes find out; another one, where a custom Function is among
        them, and another one in half precision.
    :ivar second_backward: Why :meth:`Engine.backward` needs an ordinary backward pass for the
        weighted gradient; empty if it does not.
    """

    losses: tuple[int, ...]
    parameters: tuple[ParameterReport, ...]
    flops: float
    mixed_by: tuple[str, ...]
    probed_for: tuple[str, ...]
    second_backward: str

    def __str__(self) -> str:
        rows = [
            (p.name, "x".join(map(str, p.shape)), p.served_by, f"{p.flops:.3g}", ", ".join(p.nodes))
            for p in self.parameters
        ]
        head = ("parameter", "shape", "served by", "FLOPs", "read by")
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]
        shape = "x".join(map(str, self.losses)) or "one"
        lines.append(f"Gramian of {shape} losses: {self.flops:.3g} FLOPs beside the backward pass.")
        if self.mixed_by:
            lines.append(f"Samples are mixed by {', '.join(self.mixed_by)}: rows from there on.")
        if self.probed_for:
            lines.append(f"Probed at each step because of {', '.join(self.probed_for)}.")
        if self.second_backward:
            lines.append(f"Weighted gradient: by a second backward pass: {self.second_backward}.")
        else:
            lines.append("Weighted gradient: from the same pass.")
        return "\n".join(lines)


def make_report(
    plan: Plan, watched: Recorder, modules: Sequence[nn.Module], second_backward: str
) -> Report:
    """Return the report of a pass.

    :param plan: How the Gramian was computed.
    :param watched: What was seen of the pass.
    :param modules: The engine's modules.
    :param second_backward: Why an ordinary backward pass is needed; empty if it is not.
    """
    names = dict(_names(modules))
    reached = {id(leaf) for leaf in plan.inside}
    rowwise = {id(leaf) for leaf in plan.rowwise}
    parameters = []
    for key, (name, parameter) in names.items():
        nodes = [node for node in watched.nodes if any(id(leaf) == key for leaf in node.leaves)]
        if key not in reached:
            served_by = "nothing"
        elif key in rowwise:
            served_by = "rows"
        else:
            served_by = "rule" if all(node.by for node in nodes) else "fallback"
        kinds = tuple(dict.fromkeys(node.kind for node in nodes))
        flops = watched.flops.get(key, 0.0)
        parameters.append(ParameterReport(name, tuple(parameter.shape), kinds, served_by, flops))
    return Report(
        losses=tuple(plan.output.shape),
        parameters=tuple(parameters),
        flops=sum(watched.flops.values()),
        mixed_by=tuple(dict.fromkeys(_where(node, plan, modules) for node in _first_mixing(plan))),
        probed_for=tuple(dict.fromkeys(map(kind, plan.placement.unproven))),
        second_backward=second_backward,
    )


def _names(modules: Sequence[nn.Module]) -> Iterable[tuple[int, tuple[str, Tensor]]]:
    """Yield the identity of each parameter that requires grad, and its first name."""
    seen: set[int] = set()
    for i, module in enumerate(modules):
        prefix = f"modules[{i}]." if len(modules) > 1 else ""
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield id(parameter), (prefix + name, parameter)


def _first_mixing(plan: Plan) -> list[Node]:
    """Return the nodes that mix samples which are still apart where they are read from."""
    apart = plan.placement.layouts
    mixing = set(plan.mixing)
    return [
        node
        for node in plan.graph.order
        if node in apart
        and any(edge is not None and edge.node in mixing for edge in plan.graph.inputs[node])
    ]


def _where(node: Node, plan: Plan, modules: Sequence[nn.Module]) -> str:
    """Return the kind of ``node``, with the name of the module whose parameters it reads."""
    leaves = {
        id(plan.graph.leaves[edge.node])
        for edge in plan.graph.inputs[node]
        if edge is not None and edge.node in plan.graph.leaves
    }
    for module in modules:
        for name, child in module.named_modules():
            if any(id(p) in leaves for p in child.parameters(recurse=False)):
                return f"{kind(node)} (`{name or 'the module'}`, {type(child).__name__})"
    return kind(node)
