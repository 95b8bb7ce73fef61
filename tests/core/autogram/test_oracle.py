"""The references themselves: what they return by hand, and that what is wrong is found."""

import pytest
import torch

from .architecture import squared, x
from .harness import net
from .oracle import (
    Reference,
    assert_gradient,
    assert_gramian,
    by_func,
    by_rows,
    generalized,
    trainable,
)

ROWS = x(5, 4)


def test_gramian_by_hand():
    """Two losses of one parameter of two entries, and of one of one."""
    jacobian = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([[1.0], [-1.0]])}
    right = Reference(torch.Size([2]), {name: rows.double() for name, rows in jacobian.items()})
    assert right.gramian().tolist() == [[6.0, 10.0], [10.0, 26.0]]
    assert right.gramian(["b"]).tolist() == [[1.0, -1.0], [-1.0, 1.0]]
    gradient = right.gradient(torch.tensor([2.0, 1.0]))
    assert [g.tolist() for g in gradient.values()] == [[5.0, 8.0], [1.0]]


def test_generalized_gramian_by_hand():
    """The losses i = (i1, i2) and j = (j1, j2) meet at [i1, i2, j2, j1]."""
    entries = torch.arange(36.0).view(6, 6)
    found = generalized(entries, torch.Size([2, 3]))
    assert found.shape == (2, 3, 3, 2)
    assert float(found[1, 2, 0, 1]) == float(entries[1 * 3 + 2, 1 * 3 + 0])
    assert float(found[0, 1, 2, 0]) == float(entries[1, 2])


@pytest.mark.parametrize("name", ["0.weight", "3.bias", "5.weight"])
def test_the_wrong_parameter_is_named(name):
    model = net()
    right = by_rows(squared(model(ROWS)), trainable(model))
    others = [other for other in right.jacobian if other != name]
    with pytest.raises(AssertionError, match="the Gramian is off") as caught:
        assert_gramian(
            right.gramian(others),
            right,
            1e-10,
            lambda one: 0 * right.gramian([one]) if one == name else right.gramian([one]),
        )
    lines = str(caught.value).splitlines()[1:]
    assert [line.strip() for line in lines if "off by" in line] == [
        f"{name} {list(trainable(model)[name].shape)}: off by 1"
    ]


@pytest.mark.parametrize("change", [lambda g: None, lambda g: g * (1 + 1e-8), lambda g: g.roll(1)])
def test_wrong_gradients_are_found(change):
    model = net()
    losses = squared(model(ROWS))
    right = by_func(model, lambda call: squared(call(ROWS)))
    weights = torch.linspace(-1.0, 2.0, 5, dtype=torch.float64)
    losses.backward(weights)
    assert_gradient(model, right, weights, 1e-10)
    model[3].bias.grad = change(model[3].bias.grad)
    with pytest.raises(AssertionError, match=r"wrong\n  3.bias \[5\]"):
        assert_gradient(model, right, weights, 1e-10)
