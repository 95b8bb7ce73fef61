"""The rule against autograd, which is asked for one gradient a loss."""

import pytest
import torch
from low_rank_adapter import LowRankAdapter
from low_rank_adapter._rule import DOWN, UP, WEIGHT, low_rank_adapter

from torchjd.autogram.rules import Call, Layout

BATCH = 4
INPUTS = {
    "vectors": ((BATCH, 6), Layout(0)),
    "sequences": ((BATCH, 3, 6), Layout(0)),
    "time first": ((3, BATCH, 6), Layout(1)),
    "merged": ((BATCH * 3, 6), Layout(0)),
    "merged, time first": ((3 * BATCH, 6), Layout(0, inner=True)),
}


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("name", INPUTS)
def test_rows_are_those_of_autograd(name, tasks):
    shape, layout = INPUTS[name]
    sizes = {WEIGHT: (5, 6), DOWN: (2, 6), UP: (5, 2)}
    matrices = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in sizes.values()]
    out = LowRankAdapter.apply(torch.randn(shape, dtype=torch.float64), *matrices, 0.5)
    cotangents = torch.randn(tasks, *out.shape, dtype=torch.float64)
    wanted = {number: torch.Size(size) for number, size in sizes.items()}
    call = Call(out.grad_fn, tasks, BATCH, [cotangents], [layout], wanted, torch.float64)
    with torch.no_grad():
        uses = low_rank_adapter(call)
    losses = layout.front(cotangents * out, BATCH, lead=1).flatten(2).sum(2).flatten()
    for number, matrix in zip(wanted, matrices, strict=True):
        grads = [torch.autograd.grad(loss, matrix, retain_graph=True)[0] for loss in losses]
        torch.testing.assert_close(uses[number].rows(), torch.stack(grads))
