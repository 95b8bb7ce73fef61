"""UW and IMTLL: scales that an optimizer learns along with the model."""

import math

import pytest
import torch
from torch import nn

from torchjd import Stateful
from torchjd.scalarization import IMTLL, UW
from torchjd.testing import assert_close

SHAPES = [(), (1,), (4,), (2, 3)]


def positive(shape):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1


def uw(s, x):
    """Return the term of UW, and its derivatives by s and by x."""
    return 0.5 * (math.exp(-s) * x + s), 0.5 * (1 - math.exp(-s) * x), 0.5 * math.exp(-s)


def imtll(s, x):
    """Return the term of IMTLL, and its derivatives by s and by x."""
    return math.exp(s) * x - s, math.exp(s) * x - 1, math.exp(s)


METHODS = {"UW": (UW, "log_var", uw), "IMTLL": (IMTLL, "log_scale", imtll)}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("cls", "name", "term"), METHODS.values(), ids=METHODS)
def test_gradient_descent_by_hand(cls, name, term, shape):
    scalarizer = cls(shape).double()
    optimizer = torch.optim.SGD(scalarizer.parameters(), lr=0.3)
    values = positive(shape)
    x = values.flatten().tolist()
    s = [0.0] * len(x)
    for _ in range(6):
        leaf = values.clone().requires_grad_()
        loss = scalarizer(leaf)
        loss.backward()
        terms = [term(*pair) for pair in zip(s, x, strict=True)]
        total = torch.tensor(sum(t for t, _, _ in terms), dtype=torch.float64)
        assert_close(loss, total, scale=10.0)
        slopes = torch.tensor([slope for _, _, slope in terms], dtype=torch.float64)
        assert_close(leaf.grad, slopes.view(shape))
        optimizer.step()
        optimizer.zero_grad()
        s = [a - 0.3 * slope for a, (_, slope, _) in zip(s, terms, strict=True)]
        learned = getattr(scalarizer, name).detach().flatten()
        assert_close(learned, torch.tensor(s, dtype=torch.float64), scale=1.0)


def test_where_they_tend_to():
    values = torch.tensor([0.1, 1.0, 30.0])
    for cls, name, sign in ((UW, "log_var", 1.0), (IMTLL, "log_scale", -1.0)):
        scalarizer = cls(3)
        optimizer = torch.optim.Adam(scalarizer.parameters(), lr=0.1)
        for _ in range(500):
            optimizer.zero_grad()
            scalarizer(values).backward()
            optimizer.step()
        assert torch.allclose(sign * getattr(scalarizer, name).detach(), values.log(), atol=1e-2)


def test_one_is_twice_the_other():
    one, other = UW(3), IMTLL(3)
    with torch.no_grad():
        one.log_var.copy_(torch.tensor([0.5, -1.0, 2.0]))
        other.log_scale.copy_(-one.log_var)
    values = torch.tensor([1.0, 2.0, 3.0])
    assert_close(2 * one(values), other(values))


@pytest.mark.parametrize(("cls", "name"), [(UW, "log_var"), (IMTLL, "log_scale")])
def test_what_is_learned_is_a_parameter(cls, name):
    scalarizer = cls([2, 3])
    assert isinstance(scalarizer, Stateful)
    assert [key for key, _ in scalarizer.named_parameters()] == [name]
    parameter = getattr(scalarizer, name)
    assert isinstance(parameter, nn.Parameter)
    assert parameter.shape == (2, 3)
    scalarizer(torch.ones(2, 3)).backward()
    with torch.no_grad():
        parameter += 1.0
    scalarizer.reset()
    assert getattr(scalarizer, name) is parameter
    assert bool((parameter == 0).all())
    assert parameter.grad is None
    assert repr(scalarizer) == f"{cls.__name__}(shape=(2, 3))"


@pytest.mark.parametrize("cls", [UW, IMTLL])
@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (0, ValueError, "`shape` must have lengths of at least 1. Got 0"),
        ((2, -1), ValueError, r"`shape` must have lengths of at least 1. Got \(2, -1\)"),
        (2.5, TypeError, "`shape` must be an int or a sequence of ints. Got float"),
        ("2", TypeError, "`shape` must be an int or a sequence of ints. Got str"),
        (True, TypeError, "`shape` must have ints as lengths. Got True"),
        ((2, 1.0), TypeError, r"`shape` must have ints as lengths. Got \(2, 1.0\)"),
    ],
)
def test_shapes_that_are_refused(cls, shape, error, message):
    with pytest.raises(error, match=message):
        cls(shape)


@pytest.mark.parametrize("cls", [UW, IMTLL])
def test_the_shape_stays(cls):
    scalarizer = cls(3)
    with pytest.raises(AttributeError, match="`shape` cannot be changed"):
        scalarizer.shape = 4
    with pytest.raises(ValueError, match=r"`values` must have the `shape` .*, \[3\]. Got .*\[1\]"):
        scalarizer(torch.ones(1))
