"""PBI and COSMOS: values compared with a direction."""

import math

import pytest
import torch

from torchjd.scalarization import COSMOS, PBI
from torchjd.testing import assert_close

SHAPES = [(), (1,), (5,), (2, 3)]
WEIGHTS = torch.tensor([0.25, 0.75])


def draw(shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value_and_gradient(scalarizer, values):
    leaf = values.clone().requires_grad_()
    loss = scalarizer(leaf)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("theta", [0.0, 5.0])
def test_pbi_by_hand(shape, theta):
    for seed in range(50):
        values, weights, reference = (draw(shape, 3 * seed + i) for i in range(3))
        listed = zip(*(t.flatten().tolist() for t in (values, weights, reference)), strict=True)
        gaps, direction = zip(*[(x - z, w) for x, w, z in listed], strict=True)
        length = math.hypot(*direction)
        along = sum(g * w / length for g, w in zip(gaps, direction, strict=True))
        off = math.hypot(*(g - along * w / length for g, w in zip(gaps, direction, strict=True)))
        found = PBI(theta, weights, reference)(values)
        assert_close(found, torch.tensor(along + theta * off, dtype=torch.float64), scale=1.0)


def test_the_gradient_of_pbi():
    # Along (0, 1): the derivative is 1 along it and theta, towards it, across.
    _, gradient = value_and_gradient(PBI(3.0, torch.tensor([0.0, 1.0])), torch.tensor([2.0, 4.0]))
    assert_close(gradient, torch.tensor([3.0, 1.0]))


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e20])
@pytest.mark.parametrize("weights", [[0.25, 0.75], [1.0, 0.0], [1.0, 1.0, 1.0], [0.3, 0.1, 0.2]])
def test_the_gradient_of_pbi_on_its_direction_is_finite(weights, scale):
    direction = torch.tensor(weights)
    unit = direction.double() / direction.double().norm()
    loss, gradient = value_and_gradient(PBI(5.0, direction), scale * direction)
    assert_close(loss, scale * direction.double().norm())
    assert torch.isfinite(gradient).all()
    # A subgradient: 1 along the direction, at most theta across.
    along = torch.dot(gradient.double(), unit)
    assert_close(along.float(), torch.ones(()))
    assert float((gradient - along * unit).norm()) <= 5.0 * (1 + 1e-5)


def test_pbi_adds_nothing_where_nothing_is_off():
    assert PBI(5.0, torch.tensor([0.0, 1.0]))(torch.tensor([0.0, 4.0])) == 4.0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lambda_", [0.0, 2.0])
def test_cosmos_by_hand(shape, lambda_):
    for seed in range(50):
        values, weights = draw(shape, 2 * seed), draw(shape, 2 * seed + 1)
        x, w = values.flatten().tolist(), weights.flatten().tolist()
        linear = sum(a * b for a, b in zip(x, w, strict=True))
        cosine = linear / (math.hypot(*x) * math.hypot(*w))
        found = COSMOS(lambda_, weights)(values)
        expected = torch.tensor(linear - lambda_ * cosine, dtype=torch.float64)
        assert_close(found, expected, scale=3.0)


def test_the_gradient_of_cosmos():
    # The cosine of (3, 4) with (0, 1), 4/5, changes by (-3 * 4, 3 * 3) / 5^3.
    _, gradient = value_and_gradient(
        COSMOS(2.0, torch.tensor([0.0, 1.0])), torch.tensor([3.0, 4.0])
    )
    assert_close(gradient, torch.tensor([2 * 12 / 125, 1 - 2 * 9 / 125]))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_the_cosine_does_not_depend_on_the_scale(scale):
    values = torch.tensor([3.0, 4.0])
    weights = torch.tensor([0.0, 1e-20])
    found = COSMOS(1e25, weights)(scale * values)
    assert_close(found, torch.tensor(4e-20 * scale - 0.8e25).double())


def test_cosmos_at_the_origin():
    loss, gradient = value_and_gradient(COSMOS(2.0, WEIGHTS), torch.zeros(2))
    assert loss == 0.0
    assert gradient.tolist() == WEIGHTS.tolist()


@pytest.mark.parametrize("make", [lambda w: PBI(1.0, w), lambda w: COSMOS(1.0, w)])
def test_other_weights_before_each_call(make):
    values = torch.tensor([1.0, 2.0])
    scalarizer = make(WEIGHTS)
    for seed in range(5):
        weights = draw(2, seed)
        scalarizer.weights = weights
        assert scalarizer(values) == make(weights)(values)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PBI(-1.0, WEIGHTS), ValueError, "`theta` must be finite and at least 0. Got -1.0"),
        (lambda: PBI(1.0, None), TypeError, "`weights` must be a floating-point tensor. Got None"),
        (lambda: PBI(1.0, 0 * WEIGHTS), ValueError, "`weights` must .* one that is greater"),
        (lambda: PBI(1.0, WEIGHTS, [0.0]), TypeError, "`reference` must be .* or None. Got list"),
        (lambda: PBI(1.0, WEIGHTS)(WEIGHTS[None]), ValueError, "`values` .* shape of `weights`"),
        (
            lambda: PBI(1.0, WEIGHTS, torch.zeros(3))(WEIGHTS),
            ValueError,
            "`values` must have the shape of `reference`",
        ),
        (lambda: COSMOS(-1.0, WEIGHTS), ValueError, "`lambda_` must be finite and at least 0"),
        (lambda: COSMOS(1.0, -WEIGHTS), ValueError, "`weights` must have entries of at least 0"),
        (lambda: COSMOS(1.0, WEIGHTS)(WEIGHTS[:1]), ValueError, "`values` .* shape of `weights`"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
