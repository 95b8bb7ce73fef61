"""Bad input: TypeError or ValueError, with the argument, what was required, found, and a remedy."""

import pytest
import torch

import torchjd
from torchjd.aggregation import MatrixWeighting, WeightedAggregator
from torchjd.autojac import backward, jac, jac_to_grad, mtl_backward


class OneWeighting(MatrixWeighting):
    def forward(self, matrix, /):
        return torch.ones(len(matrix))


A = WeightedAggregator(OneWeighting())
W = torch.ones(3, requires_grad=True)
V = torch.ones(2, requires_grad=True)
FROZEN = torch.ones(3)
HALF = torch.ones(2, dtype=torch.float16, requires_grad=True)
COMPLEX = torch.ones(3, dtype=torch.complex64, requires_grad=True)


def losses():
    return [W.sum(), (W * W).sum() + V.sum()]


def empty():
    return W[W > 2]


CALLS = [
    # outputs
    ("none", lambda: backward([]), ValueError, "`tensors` must contain at least one tensor"),
    (
        "number",
        lambda: backward(3.0),
        TypeError,
        "`tensors` must be a tensor or an.*Got float",
    ),
    ("dict", lambda: backward({"a": W.sum()}), TypeError, "`tensors` must.*Got dict"),
    ("text", lambda: backward("loss"), TypeError, "`tensors` must.*Got str"),
    ("mixed", lambda: backward([W.sum(), 1.0]), TypeError, "Got float at position 1"),
    ("constant", lambda: backward([W.sum(), FROZEN]), ValueError, r"`tensors\[1\]` must require"),
    ("constant alone", lambda: backward(FROZEN), ValueError, "`tensors` must require grad"),
    (
        "complex",
        lambda: backward([COMPLEX.sum()]),
        TypeError,
        "real floating dtype. Got torch.c",
    ),
    ("empty", lambda: backward([empty()]), ValueError, r"`tensors\[0\]` must have at least one el"),
    ("jac empty", lambda: jac(empty(), W), ValueError, "`outputs` must have at least one element"),
    # inputs
    ("no inputs", lambda: backward(losses(), inputs=[]), ValueError, "`inputs` must contain at"),
    (
        "frozen",
        lambda: backward(losses(), inputs=[W, FROZEN]),
        ValueError,
        r"`inputs\[1\]` must",
    ),
    ("twice", lambda: jac(losses(), [W, V, W]), ValueError, "`inputs`.*twice.*positions 0 and 2"),
    ("used up", lambda: jac(losses(), iter(())), ValueError, "generator that was used before"),
    ("no tensor", lambda: jac(losses(), [W, None]), TypeError, "Got NoneType at position 1"),
    # cotangents
    (
        "count",
        lambda: jac(losses(), W, jac_outputs=[torch.ones(2)]),
        ValueError,
        "`jac_outputs` must have one tensor for each of `outputs`. Got 1 for 2",
    ),
    (
        "0-dim",
        lambda: backward(W.sum(), jac_tensors=torch.tensor(1.0)),
        ValueError,
        r"`jac_tensors\[0\]` must have shape \[m, \*tensors\[0\].shape\].*Got \[\]",
    ),
    (
        "shape",
        lambda: backward(W * 2, jac_tensors=torch.ones(2, 4)),
        ValueError,
        r"\[m, 3\]. Got \[2, 4\]",
    ),
    (
        "rows differ",
        lambda: backward(losses(), jac_tensors=[torch.ones(2), torch.ones(3)]),
        ValueError,
        r"one and the same first dimension.*Got \[2, 3\]",
    ),
    (
        "no rows",
        lambda: backward(W.sum(), jac_tensors=torch.ones(0)),
        ValueError,
        r"of at least 1.*Got \[0\]",
    ),
    (
        "dtype",
        lambda: backward(W.sum(), jac_tensors=torch.ones(2, dtype=torch.float64)),
        TypeError,
        "must have the dtype of `tensors.*torch.float32. Got torch.float64",
    ),
    (
        "device",
        lambda: backward(W.sum(), jac_tensors=torch.ones(2, device="meta")),
        ValueError,
        "must be on the device of `tensors.*cpu. Got meta",
    ),
    # chunk size
    ("chunk 0", lambda: backward(losses(), parallel_chunk_size=0), ValueError, "at least 1.*Got 0"),
    ("chunk 1.5", lambda: jac(losses(), W, parallel_chunk_size=1.5), TypeError, "Got 1.5, a float"),
    ("chunk True", lambda: backward(losses(), parallel_chunk_size=True), TypeError, "Got True"),
    # jac_to_grad
    ("no jac", lambda: jac_to_grad([W], A), ValueError, r"`.jac`. Got none on tensors\[0\]"),
    (
        "class",
        lambda: jac_to_grad([W], WeightedAggregator),
        TypeError,
        "Got the class.*instance",
    ),
    (
        "function",
        lambda: jac_to_grad([W], torch.mean),
        TypeError,
        "be an Aggregator. Got <",
    ),
    ("weighting", lambda: jac_to_grad([W], OneWeighting()), TypeError, "WeightedAggregator.weight"),
    # multi-task
    ("no losses", lambda: mtl_backward(features=W * 2), TypeError, "`losses` must be given"),
    (
        "both names",
        lambda: mtl_backward(losses(), W * 2, tensors=losses()),
        TypeError,
        "two names of one argument. Got both",
    ),
    ("no features", lambda: mtl_backward(losses(), ()), ValueError, "`features` must contain at l"),
    (
        "nothing shared",
        lambda: torchjd.mtl_backward([W.sum(), V.sum()], None, A),
        ValueError,
        "`losses` must meet in at least one parameter.*Got 2 of which no two do",
    ),
    (
        "scales of no tensor",
        lambda: backward(losses(), row_scales=[1.0, 1.0]),
        TypeError,
        "`row_scales` must be a floating-point tensor. Got list",
    ),
    (
        "too many scales",
        lambda: backward(losses(), row_scales=torch.ones(3)),
        ValueError,
        r"`row_scales` must have one element for each of the 2 rows. Got shape \[3\]",
    ),
    (
        "a scale of zero",
        lambda: mtl_backward(losses(), row_scales=torch.tensor([1.0, 0.0])),
        ValueError,
        r"`row_scales` must be positive and finite. Got \[1.0, 0.0\]",
    ),
    (
        "scaled float16",
        lambda: backward([HALF.sum()], row_scales=torch.ones(1)),
        TypeError,
        r"`inputs` must not be of float16 where `row_scales`.*Got inputs\[0\], of shape \[2\]",
    ),
    (
        "scaled heads of float16",
        lambda: mtl_backward([HALF.sum(), HALF.sum()], row_scales=torch.ones(2)),
        TypeError,
        "`parameters` must not be of float16.*Keep parameters in float32",
    ),
    (
        "stale features",
        lambda: mtl_backward(losses(), W * 2),
        ValueError,
        "`features` must be tensors that at least one of the losses depends on.*this very forward",
    ),
    (
        "vector loss",
        lambda: mtl_backward([W * 2], W),
        ValueError,
        r"`losses\[0\]` must have one element, unless `grad_tensors`.*Got shape \[3\]",
    ),
    (
        "grad shape",
        lambda: mtl_backward([W.sum()], W, grad_tensors=[torch.ones(1)]),
        ValueError,
        r"`grad_tensors\[0\]` must have the shape of `losses\[0\]`, \[\]. Got \[1\]",
    ),
    (
        "tasks count",
        lambda: mtl_backward([W.sum()], W, tasks_params=[[], []]),
        ValueError,
        "parameters of each of the 1 losses. Got 2",
    ),
    (
        "tasks flat",
        lambda: mtl_backward([W.sum()], W, tasks_params=V),
        TypeError,
        "`tasks_params` must be an iterable of iterables of tensors.*Got Tensor",
    ),
    (
        "task of numbers",
        lambda: mtl_backward([W.sum()], W, tasks_params=[3]),
        TypeError,
        r"`tasks_params\[0\]` must be a tensor or an iterable of tensors. Got int",
    ),
    (
        "overlap",
        lambda: mtl_backward([(W * V.sum()).sum()], W, tasks_params=[[V]], shared_params=[V, W]),
        ValueError,
        r"no parameter in common.*`tasks_params\[0\]\[0\]`.*shared parameter 0",
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "match"), [c[1:] for c in CALLS], ids=[c[0] for c in CALLS]
)
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()
    assert W.grad is None
    assert V.grad is None
    assert not hasattr(W, "jac")


JACS = [
    (torch.ones(2, 4), ValueError, r"`tensors\[0\].jac` must have shape \[2, 3\].*Got \[2, 4\]"),
    (torch.tensor(1.0), ValueError, r"Got \[\]"),
    (torch.ones(0, 3), ValueError, r"Got \[0, 3\]"),
    (torch.ones(2, 3, dtype=torch.float64), ValueError, "torch.float32 on cpu.*Got torch.float64"),
    ("jacobian", TypeError, r"`tensors\[0\].jac` must be a tensor. Got str"),
]


@pytest.mark.parametrize(("jacobian", "error", "match"), JACS)
def test_jacobians_that_do_not_fit(jacobian, error, match):
    w = torch.ones(3, requires_grad=True)
    w.jac = jacobian
    with pytest.raises(error, match=match):
        jac_to_grad(w, A)
    assert w.jac is jacobian


def test_jacobians_of_different_numbers_of_rows():
    w, v = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    w.jac, v.jac = torch.ones(2, 3), torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"`tensors\[1\].jac` must have shape \[2, 2\], with"):
        jac_to_grad([w, v], A)


def test_missing_jacobians_are_named_in_short():
    parameters = [torch.ones(2, requires_grad=True) for _ in range(9)]
    with pytest.raises(ValueError, match=r"tensors\[4\] of shape \[2\] and 4 more"):
        jac_to_grad(parameters, A)


@pytest.mark.parametrize("stored", ["text", torch.ones(2, 3, dtype=torch.float64)])
def test_a_jac_that_cannot_be_added_to(stored):
    w = torch.ones(3, requires_grad=True)
    w.jac = stored
    with pytest.raises((TypeError, ValueError), match=r"`inputs\[0\].jac` must be"):
        backward([w.sum(), w.prod()])
    assert w.jac is stored


STEPS = [
    ("frozen", lambda: torchjd.backward(losses(), [FROZEN], A), ValueError, r"`inputs\[0\]` must"),
    (
        "no aggregator",
        lambda: torchjd.backward(losses(), [W], None),
        TypeError,
        "`aggregator` must",
    ),
    ("swapped", lambda: torchjd.backward(losses(), A, [W]), TypeError, "`aggregator` must be an"),
    ("mtl", lambda: torchjd.mtl_backward(losses(), W * 2, A), ValueError, "`features` must be"),
    (
        "nothing shared",
        lambda: torchjd.mtl_backward([W.sum()], W, A, shared_params=[]),
        ValueError,
        "`shared_params` must contain at least one",
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "match"), [c[1:] for c in STEPS], ids=[c[0] for c in STEPS]
)
def test_one_call_steps(call, error, match):
    with pytest.raises(error, match=match):
        call()
    assert W.grad is None
