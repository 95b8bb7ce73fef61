"""The rules of elementwise operations, whose parameter is broadcast against the samples."""

import pytest
import torch

from torchjd.autogram._layout import Layout
from torchjd.autogram._rules import _broadcast as rules

from .rule_oracle import call_of, check, missing, parameter, random, refused

READS = {
    "AddBackward0": {"alpha"},
    "SubBackward0": {"alpha"},
    "RsubBackward0": {"alpha"},
    "MulBackward0": {"self", "other"},
    "DivBackward0": {"self", "other"},
    "PowBackward1": {"self", "exponent", "result"},
    "AddcmulBackward0": {"tensor1", "tensor2", "value"},
    "WhereBackward0": {"condition"},
    "LerpBackward0": {"weight"},
    "LerpBackward1": {"self", "end", "weight"},
    "PreluKernelBackward0": {"self"},
    "ExpandBackward0": set(),
    "RepeatBackward0": {"repeats"},
}


@pytest.mark.parametrize("name", READS)
def test_torch_saves_what_is_read(name):
    assert not missing(name, READS[name])


def positive(*shape):
    return parameter(*shape).detach().abs().add(0.5).requires_grad_()


# Where the parameter stands, the operation of a parameter and of a tensor, and its rule.
OPERATIONS = {
    "add": (0, lambda p, x: torch.add(p, x, alpha=2), rules.add),
    "add second": (1, lambda p, x: torch.add(x, p, alpha=2), rules.add),
    "add a third of it": (1, lambda p, x: torch.add(x, p, alpha=1 / 3), rules.add),
    "sub": (0, lambda p, x: torch.sub(p, x, alpha=2), rules.sub),
    "sub second": (1, lambda p, x: torch.sub(x, p, alpha=2), rules.sub),
    "rsub": (0, lambda p, x: torch.rsub(p, x, alpha=2), rules.rsub),
    "rsub second": (1, lambda p, x: torch.rsub(x, p), rules.rsub),
    "mul": (0, lambda p, x: p * x, rules.mul),
    "mul second": (1, lambda p, x: x * p, rules.mul),
    "mask": (0, lambda p, x: p * (x > 0), rules.mul),
    "numerator": (0, lambda p, x: p / x, rules.div),
    "denominator": (1, lambda p, x: x / p, rules.div),
    "base": (0, lambda p, x: p**x, rules.power),
    "exponent": (1, lambda p, x: x.abs() ** p, rules.power),
    "addcmul": (0, lambda p, x: torch.addcmul(p, x, x, value=3), rules.addcmul),
    "addcmul second": (1, lambda p, x: torch.addcmul(x, p, x, value=3), rules.addcmul),
    "addcmul third": (2, lambda p, x: torch.addcmul(x, x, p), rules.addcmul),
    "where": (0, lambda p, x: torch.where(x > 0, p, x), rules.where),
    "where not": (1, lambda p, x: torch.where(x > 0, x, p), rules.where),
    "lerp start": (0, lambda p, x: torch.lerp(p, x, 0.25), rules.lerp),
    "lerp end": (1, lambda p, x: torch.lerp(x, p, 0.25), rules.lerp),
    "lerp start by tensor": (0, lambda p, x: torch.lerp(p, x, x.cos()), rules.lerp),
    "lerp end by tensor": (1, lambda p, x: torch.lerp(x, p, x.cos()), rules.lerp),
    "lerp weight": (2, lambda p, x: torch.lerp(x, x.cos(), p), rules.lerp),
    "expand": (0, lambda p, x: p.expand(x.shape), rules.expand),
}
# The shapes of the parameter and of the output, where the samples sit, and how many they are.
PLACES = {
    "scalar": ((), (5, 3), Layout(0), 5),
    "scalar of plain losses": ((), (5,), Layout(0), 5),
    "vector": ((3,), (5, 3), Layout(0), 5),
    "vector with tokens": ((3,), (5, 2, 3), Layout(0), 5),
    "vector with samples behind": ((3,), (2, 5, 3), Layout(1), 5),
    "channels": ((3, 1, 1), (5, 3, 2, 2), Layout(0), 5),
    "places": ((1, 2, 3), (5, 2, 3), Layout(0), 5),
    "all of one size": ((1, 1, 1), (5, 2, 3), Layout(0), 5),
    "column": ((2, 1), (2, 5), Layout(1), 5),
    "outer": ((3,), (10, 3), Layout(0), 5),
    "inner": ((3,), (10, 3), Layout(0, inner=True), 5),
    "own element": ((5, 3), (5, 3), Layout(0), 5),
    "own element, shared": ((5, 1), (5, 3), Layout(0), 5),
    "own elements, outer": ((10, 3), (2, 10, 3), Layout(1), 5),
    "own elements, inner": ((10, 1), (2, 10, 3), Layout(1, inner=True), 5),
    "one sample": ((4, 3), (4, 3), Layout(0), 1),
    "one sample, broadcast": ((3,), (4, 3), Layout(1), 1),
}


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("place", PLACES)
def test_each_operation_in_each_place(place, operation, tasks):
    index, function, rule = OPERATIONS[operation]
    shape, size, layout, batch = PLACES[place]
    p = positive(*shape)
    out = function(p, random(*size))
    check(rule, out, layout, batch, {index: p}, tasks)


@pytest.mark.parametrize("operation", ["mul", "where", "numerator"])
@pytest.mark.parametrize("place", PLACES)
def test_tasks_multiplied_one_after_the_other(monkeypatch, place, operation):
    """As where their products would take much room together."""
    monkeypatch.setattr(rules, "_APART", 0)
    index, function, rule = OPERATIONS[operation]
    shape, size, layout, batch = PLACES[place]
    p = positive(*shape)
    check(rule, function(p, random(*size)), layout, batch, {index: p}, tasks=3)


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_prelu(channels, tasks):
    x, p = random(5, 3, 4).requires_grad_(), parameter(1, channels, 1)
    x.data[0, 0, 0] = 0.0
    out = torch._prelu_kernel(x, p)
    assert type(out.grad_fn).__name__ == "PreluKernelBackward0"
    check(rules.prelu, out, Layout(0), 5, {1: p}, tasks)


REPEATS = {
    "instance norm": ((3,), (5,), Layout(0), 5),
    "several times a sample": ((3,), (10,), Layout(0), 5),
    "of one element, inner": ((1,), (10,), Layout(0, inner=True), 5),
    "new dimension": ((3,), (5, 2), Layout(0), 5),
    "new dimension, inner": ((3,), (10, 2), Layout(0, inner=True), 5),
    "samples behind": ((2, 3), (2, 5), Layout(1), 5),
    "scalar": ((), (5, 2), Layout(0), 5),
    "one sample": ((3,), (2, 2), Layout(1), 1),
}


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("name", REPEATS)
def test_repeat(name, tasks):
    shape, repeats, layout, batch = REPEATS[name]
    p = parameter(*shape)
    check(rules.repeat, p.repeat(*repeats), layout, batch, {0: p}, tasks)


def test_copies_that_samples_share_are_refused():
    p = parameter(5)
    assert refused(rules.repeat, p.repeat(1), Layout(0), 5, {0: p})
    p = parameter(3)
    assert refused(rules.repeat, p.repeat(5), Layout(0, inner=True), 5, {0: p})


def test_both_terms_may_be_wanted():
    p, q = positive(3), positive(5, 1)
    check(rules.add, p + q, Layout(0), 5, {0: p, 1: q}, 2)
    check(rules.mul, p * q, Layout(0), 5, {0: p, 1: q}, 2)
    check(rules.div, p / q, Layout(0), 5, {0: p, 1: q}, 2)


@pytest.mark.parametrize("x", [0.0, -2.0, 3.0])
def test_powers_at_the_edges_of_their_domain(x):
    """There, the derivative is what torch takes it for, though a logarithm is infinite."""
    zeros = torch.zeros(5, 2, dtype=torch.float64)
    p = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)
    if x >= 0:
        check(rules.power, (zeros + x) ** p, Layout(0), 5, {1: p}, 1)
    base = torch.full((2,), x, dtype=torch.float64, requires_grad=True)
    check(rules.power, base ** (zeros + p.detach()), Layout(0), 5, {0: base}, 1)


def test_infinite_cotangents_stay_where_they_are():
    p = parameter(2)
    out = torch.where(torch.tensor([True, False]), p, random(5, 2))
    call, _ = call_of(out, Layout(0), 5, {0: p}, 1)
    call.cotangents = [torch.full((1, 5, 2), torch.inf, dtype=torch.float64)]
    uses = rules.where(call)
    assert uses is not None
    assert torch.equal(uses[0].rows(), torch.tensor([torch.inf, 0.0]).double().expand(5, 2))
