"""What a rule returns, judged against one backward pass for each loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor

from torchjd.autogram._layout import Layout
from torchjd.autogram._rules._call import Call
from torchjd.autogram._rules._rule import Rule

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


@dataclass
class Reading(Call):
    """A call that keeps count: of a checkpointed tensor, each reading runs the forward again."""

    read: list[str] = field(default_factory=list)

    def saved(self, name: str) -> object:
        value = super().saved(name)
        if isinstance(value, Tensor):
            self.read.append(name)
        return value


def close(left: Tensor, right: Tensor, dtype: torch.dtype = torch.float64) -> None:
    assert left.shape == right.shape
    size = float(right.abs().max()) or 1.0
    assert float((left - right).abs().max()) <= TOLERANCE[dtype] * size


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def parameter(*shape: int) -> Tensor:
    return random(*shape, seed=7).requires_grad_()


def call_of(
    out: Tensor, layout: Layout, batch: int, inputs: Mapping[int, Tensor], tasks: int
) -> tuple[Reading, dict[int, Tensor]]:
    """Return a call for losses that read one sample of ``out`` each, and the rows of each input."""
    cotangent = random(tasks, *out.shape, seed=3).to(out.dtype)
    losses = layout.front(cotangent * out, batch, lead=1).reshape(tasks * batch, -1).sum(1)
    tensors = list(inputs.values())
    gradients = [
        torch.autograd.grad(loss, tensors, retain_graph=True, materialize_grads=True)
        for loss in losses
    ]
    rows = {i: torch.stack(g) for i, g in zip(inputs, zip(*gradients, strict=True), strict=True)}
    node = out.grad_fn
    wanted = {i: tensor.shape for i, tensor in inputs.items()}
    call = Reading(node, tasks, batch, [cotangent], [layout], wanted, out.dtype)
    return call, rows


def check(
    rule: Rule, out: Tensor, layout: Layout, batch: int, inputs: Mapping[int, Tensor], tasks: int
) -> None:
    """Check the uses of all ``inputs`` together, and of each alone."""
    call, rows = call_of(out, layout, batch, inputs, tasks)
    check_call(rule, call, rows)
    for index, right in rows.items():
        call.wanted = {index: inputs[index].shape}
        check_call(rule, call, {index: right})


@torch.no_grad()
def check_call(rule: Rule, call: Reading, rows: Mapping[int, Tensor]) -> None:
    call.read.clear()
    uses = rule(call)
    assert uses is not None
    assert len(set(call.read)) == len(call.read)
    assert uses.keys() == rows.keys()
    m = call.tasks * call.batch
    weights = random(call.tasks, call.batch, seed=5)
    for index, J in rows.items():
        use, matrix = uses[index], J.reshape(m, -1)
        assert (use.tasks, use.batch, use.shape) == (call.tasks, call.batch, J.shape[1:])
        close(use.rows(), J)
        expected = weights.flatten() @ matrix
        close(use.weighted(weights), expected.view(J.shape[1:]))
        gramian = torch.ones(m, m, dtype=torch.float64)
        kept = use.add_gramian(gramian, keep=1 << 30)
        close(gramian, 1 + matrix @ matrix.T)
        assert kept is not None
        close(kept.weighted(weights), expected.view(J.shape[1:]))


def refused(
    rule: Rule, out: Tensor, layout: Layout, batch: int, inputs: Mapping[int, Tensor]
) -> bool:
    call, _ = call_of(out, layout, batch, inputs, tasks=1)
    with torch.no_grad():
        return rule(call) is None


def missing(name: str, reads: set[str]) -> set[str]:
    """Return what torch's node of that name does not save among ``reads``."""
    kind = getattr(torch._C._functions, name, SimpleNamespace())
    return {read for read in reads if not hasattr(kind, f"_saved_{read}")}
