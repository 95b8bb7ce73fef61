"""The rules of matrix products: either factor, every place of the samples, and the biases."""

import pytest
import torch

from torchjd.autogram._layout import Layout
from torchjd.autogram._rules import _matmul as rules
from torchjd.autogram._rules._call import Call
from torchjd.autogram._uses._rows import Rows

from .rule_oracle import call_of, check, check_call, close, missing, parameter, random, refused

OUTER, INNER = False, True
READS = {
    "MmBackward0": {"self", "mat2"},
    "AddmmBackward0": {"mat1", "mat2", "alpha", "beta"},
    "BmmBackward0": {"self", "mat2"},
    "BaddbmmBackward0": {"batch1", "batch2", "alpha", "beta"},
    "MvBackward0": {"self", "vec"},
    "AddmvBackward0": {"mat", "vec", "alpha", "beta"},
    "LinearBackward0": {"input", "weight"},
}


@pytest.mark.parametrize("name", READS)
def test_torch_saves_what_is_read(name):
    assert not missing(name, READS[name])


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize(
    ("rows", "batch", "inner"),
    [(5, 5, OUTER), (20, 5, OUTER), (20, 5, INNER), (4, 1, OUTER), (1, 1, OUTER), (40, 2, OUTER)],
)
class TestRowsOfSamples:
    """The samples are rows of the left factor, alone or merged with tokens."""

    def test_mm(self, tasks, rows, batch, inner):
        W = parameter(3, 4)
        check(rules.mm, random(rows, 3) @ W, Layout(0, inner), batch, {1: W}, tasks)

    def test_mm_by_a_left_factor(self, tasks, rows, batch, inner):
        W = parameter(4, 3)
        check(rules.mm, W @ random(rows, 3).T, Layout(1, inner), batch, {0: W}, tasks)

    @pytest.mark.parametrize("shape", [(4,), (1, 4), (1,), (), (1, 1)])
    def test_addmm(self, tasks, rows, batch, inner, shape):
        b, W = parameter(*shape), parameter(3, 4)
        out = torch.addmm(b, random(rows, 3), W, alpha=2, beta=-0.5)
        check(rules.addmm, out, Layout(0, inner), batch, {0: b, 2: W}, tasks)

    def test_addmm_by_a_left_factor(self, tasks, rows, batch, inner):
        b, W = parameter(4, 1), parameter(4, 3)
        out = torch.addmm(b, W, random(rows, 3).T, alpha=2)
        check(rules.addmm, out, Layout(1, inner), batch, {0: b, 1: W}, tasks)

    def test_bmm(self, tasks, rows, batch, inner):
        W, V = parameter(2, 3, 4), parameter(2, 4, 3)
        x = random(2, rows, 3)
        check(rules.bmm, torch.bmm(x, W), Layout(1, inner), batch, {1: W}, tasks)
        check(rules.bmm, torch.bmm(V, x.mT), Layout(2, inner), batch, {0: V}, tasks)

    def test_baddbmm(self, tasks, rows, batch, inner):
        b, W = parameter(2, 1, 4), parameter(2, 3, 4)
        out = torch.baddbmm(b, random(2, rows, 3), W, alpha=3, beta=2)
        check(rules.baddbmm, out, Layout(1, inner), batch, {0: b, 2: W}, tasks)

    def test_mv(self, tasks, rows, batch, inner):
        v = parameter(3)
        check(rules.mv, random(rows, 3) @ v, Layout(0, inner), batch, {1: v}, tasks)

    def test_addmv(self, tasks, rows, batch, inner):
        b, v = parameter(1), parameter(3)
        out = torch.addmv(b, random(rows, 3), v, alpha=3, beta=2)
        check(rules.addmv, out, Layout(0, inner), batch, {0: b, 2: v}, tasks)

    def test_a_bias_with_an_element_for_each_sample(self, tasks, rows, batch, inner):
        b, W = parameter(rows, 4), parameter(3, 4)
        out = torch.addmm(b, random(rows, 3), W)
        check(rules.addmm, out, Layout(0, inner), batch, {0: b, 2: W}, tasks)

    def test_linear(self, tasks, rows, batch, inner):
        """No backend of the CPU makes this node: the names of it are held by another test."""
        x, W, b = random(rows, 2, 3), parameter(4, 3), parameter(4)
        out = torch.einsum("rtd,pd->rtp", x, W) + b
        call, right = call_of(out, Layout(0, inner), batch, {1: W, 2: b}, tasks)
        call.node = type("Node", (), {"_saved_input": x, "_saved_weight": W})()
        check_call(rules.linear, call, right)


@pytest.mark.parametrize("tasks", [1, 3])
def test_one_sample_may_have_both_factors_as_parameters(tasks):
    b, W, V = parameter(4, 2), parameter(4, 3), parameter(3, 2)
    for dim in (0, 1):
        out = torch.addmm(b, W, V, alpha=2)
        check(rules.addmm, out, Layout(dim), 1, {0: b, 1: W, 2: V}, tasks)
        check(rules.mm, W @ V, Layout(dim), 1, {0: W, 1: V}, tasks)
    W, V = parameter(5, 4, 3), parameter(5, 3, 2)
    for dim in (0, 1, 2):
        check(rules.bmm, torch.bmm(W, V), Layout(dim), 1, {0: W, 1: V}, tasks)
    W, v = parameter(4, 3), parameter(3)
    check(rules.mv, W @ v, Layout(0), 1, {0: W, 1: v}, tasks)


def test_uses_of_a_batch_of_matrices_are_added():
    W = parameter(2, 30, 4)
    calls = [
        call_of(torch.bmm(random(2, 5, 30, seed=seed), W), Layout(1), 5, {1: W}, 2)
        for seed in (1, 2)
    ]
    uses = []
    for call, _ in calls:
        with torch.no_grad():
            (use,) = (rules.bmm(call) or {}).values()
        uses.append(use)
    J = calls[0][1][1] + calls[1][1][1]
    both = uses[0].merge(uses[1])
    assert isinstance(both, rules.Stacked)
    close(both.rows(), J)
    gramian = torch.zeros(10, 10, dtype=torch.float64)
    assert both.add_gramian(gramian, keep=0) is None
    close(gramian, J.flatten(1) @ J.flatten(1).T)
    assert uses[0].merge(Rows(J.unflatten(0, (2, 5)))) is None


def test_factors_that_hold_the_samples_are_refused():
    x, W = parameter(5, 3), parameter(3, 5)
    assert refused(rules.mm, x @ random(3, 4), Layout(0), 5, {0: x})
    assert refused(rules.mm, random(4, 3) @ W, Layout(1), 5, {1: W})
    assert refused(rules.addmm, torch.addmm(random(4), x, random(3, 4)), Layout(0), 5, {1: x})
    assert refused(rules.mv, x @ random(3), Layout(0), 5, {0: x})
    each = parameter(5, 3, 2)
    assert refused(rules.bmm, torch.bmm(random(5, 4, 3), each), Layout(0), 5, {1: each})


def test_a_second_output_with_a_cotangent_is_refused():
    W = parameter(3, 4)
    call, _ = call_of(random(5, 3) @ W, Layout(0), 5, {1: W}, 1)
    call.cotangents, call.layouts = [*call.cotangents, random(1, 5)], [Layout(0), Layout(0)]
    assert rules.mm(call) is None


def test_half_precision_is_multiplied_in_single():
    x, W = random(5, 3).bfloat16(), parameter(3, 4).detach().bfloat16().requires_grad_()
    node = (x @ W).grad_fn
    B = random(1, 5, 4).bfloat16()
    call = Call(node, 1, 5, [B], [Layout(0)], {1: W.shape}, torch.float32)
    uses = rules.mm(call)
    assert uses is not None
    right = x.float()[:, :, None] * B[0].float()[:, None, :]
    assert torch.equal(uses[1].rows(), right)
