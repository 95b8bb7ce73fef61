"""What a rule may return, and what is refused before it counts."""

import re
from dataclasses import replace

import pytest
import torch

from torchjd.autogram._rules._checked import checked
from torchjd.autogram.rules import Call, Layout, OuterProducts, Rows

KIND = "SomeBackward"
TASKS, BATCH, T, P, D = 2, 3, 4, 5, 6


def zeros(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


def outer(transposed=False):
    return OuterProducts(zeros(BATCH, T, D), zeros(TASKS, BATCH, T, P), transposed)


def rows(*shape, dtype=torch.float32):
    return Rows(zeros(*shape, dtype=dtype))


RIGHT = {1: outer(), 2: rows(TASKS, BATCH, P)}


@pytest.fixture
def call():
    """Return a call of which inputs 1, a matrix, and 2, a vector, are wanted."""
    weight = zeros(P, D).requires_grad_()
    out = zeros(BATCH, T, D) @ weight.T
    return Call(
        node=out.grad_fn,
        tasks=TASKS,
        batch=BATCH,
        cotangents=[zeros(TASKS, *out.shape)],
        layouts=[Layout(0)],
        wanted={1: torch.Size([P, D]), 2: torch.Size([P])},
        dtype=torch.float32,
    )


@pytest.mark.parametrize(
    "uses",
    [RIGHT, dict(reversed(RIGHT.items())), RIGHT | {1: rows(TASKS, BATCH, P, D)}],
    ids=["as asked", "in another order", "rows"],
)
def test_what_is_right_is_returned_as_it_is(call, uses):
    assert checked(call, uses, KIND) is uses


def test_a_use_of_the_transposed_parameter_has_its_shape(call):
    call = replace(call, wanted={1: torch.Size([D, P])})
    uses = {1: outer(transposed=True)}
    assert checked(call, uses, KIND) is uses


@pytest.mark.parametrize(
    ("uses", "error", "said"),
    [
        (
            [outer()],
            TypeError,
            "a mapping from inputs to their uses, or None. Got list.",
        ),
        (
            {},
            ValueError,
            "which are 1, 2, and for no other. Got none. Where it serves only",
        ),
        (
            {2: RIGHT[2]},
            ValueError,
            "which are 1, 2, and for no other. Got 2. Where it serves",
        ),
        (RIGHT | {0: RIGHT[2]}, ValueError, "and for no other. Got 1, 2, 0."),
        ({"1": RIGHT[1], "2": RIGHT[2]}, ValueError, "and for no other. Got '1', '2'."),
        (RIGHT | {2: zeros(TASKS, BATCH, P)}, TypeError, "a `Use` for input 2, such as "),
        (RIGHT | {2: None}, TypeError, "such as `OuterProducts` or `Rows`. Got NoneType."),
        (
            RIGHT | {1: outer(transposed=True)},
            ValueError,
            "for input 1, a use of 2 tasks, 3 samples and shape [5, 6]. Got 2 tasks, 3 samples",
        ),
        (RIGHT | {2: rows(BATCH, TASKS, P)}, ValueError, "Got 3 tasks, 2 samples and shape [5]."),
        (RIGHT | {2: rows(TASKS, BATCH, P, 1)}, ValueError, "3 samples and shape [5, 1]."),
        (
            RIGHT | {1: OuterProducts(zeros(T, BATCH, D), zeros(TASKS, BATCH, T, P))},
            ValueError,
            "to cotangents of shape [tasks, batch, t, p] = [2, 3, 4, 5]. Got [4, 3, 6].",
        ),
        (
            RIGHT | {2: rows(TASKS, BATCH, P, dtype=torch.bfloat16)},
            ValueError,
            "in `call.dtype`, torch.float32. Got torch.bfloat16 for input 2. Convert",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_kind_of_the_node(call, uses, error, said):
    with pytest.raises(error, match=f"^The rule of `{KIND}` must .*{re.escape(said)}"):
        checked(call, uses, KIND)
