"""Tchebycheff and STCH, its smooth version."""

import math

import pytest
import torch

from torchjd.scalarization import STCH, Tchebycheff
from torchjd.testing import assert_close

SHAPES = [(), (1,), (5,), (2, 3)]
WEIGHTS = torch.tensor([0.5, 2.0, 1.0])
REFERENCE = torch.tensor([0.0, 1.0, -1.0])


def draw(shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value_and_gradient(scalarizer, values):
    leaf = values.clone().requires_grad_()
    loss = scalarizer(leaf)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("mu", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_smooth_one_by_hand(shape, mu):
    values, weights, reference = (draw(shape, seed) for seed in range(3))
    terms = zip(*(t.flatten().tolist() for t in (values, weights, reference)), strict=True)
    powers = [math.exp(w * (x - z) / mu) for x, w, z in terms]
    loss, gradient = value_and_gradient(STCH(mu, weights, reference), values)
    assert_close(loss, torch.tensor(mu * math.log(sum(powers)), dtype=torch.float64), scale=1.0)
    shares = torch.tensor([power / sum(powers) for power in powers], dtype=torch.float64)
    assert_close(gradient, weights * shares.view(shape), scale=1.0)


def test_the_smooth_one_without_weights_has_equal_ones():
    values = draw(6, 0)
    equal = torch.full((6,), 1 / 6, dtype=torch.float64)
    assert_close(STCH(0.1)(values), STCH(0.1, equal)(values))


@pytest.mark.parametrize("mu", [1e-1, 1e-3, 1e-6, 1e-9])
def test_the_smooth_one_is_close_to_the_largest(mu):
    for seed in range(100):
        values, weights, reference = (3 * draw(7, 3 * seed + i) for i in range(3))
        largest = Tchebycheff(weights, reference)(values)
        above = float(STCH(mu, weights, reference)(values) - largest)
        assert -1e-12 <= above <= mu * math.log(7) + 1e-12


def test_the_smooth_one_is_finite_for_tiny_mu():
    loss, gradient = value_and_gradient(STCH(1e-6), torch.tensor([1.0, 100.0]))
    assert loss == 50.0
    assert gradient.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_the_largest_by_hand(shape, rho):
    for seed in range(50):
        values, weights, reference = (draw(shape, 3 * seed + i) for i in range(3))
        terms = zip(*(t.flatten().tolist() for t in (values, weights, reference)), strict=True)
        gaps = [(w * (x - z), x - z) for x, w, z in terms]
        expected = max(gap for gap, _ in gaps) + rho * sum(gap for _, gap in gaps)
        loss, gradient = value_and_gradient(Tchebycheff(weights, reference, rho=rho), values)
        assert_close(loss, torch.tensor(expected, dtype=torch.float64), scale=1.0)
        one_hot = torch.zeros(len(gaps), dtype=torch.float64)
        worst = max(range(len(gaps)), key=lambda i: gaps[i][0])
        one_hot[worst] = weights.flatten()[worst]
        assert_close(gradient, one_hot.view(shape) + rho)


def test_values_that_tie_share_the_gradient():
    _, gradient = value_and_gradient(Tchebycheff(), torch.tensor([2.0, 1.0, 2.0]))
    assert_close(gradient, torch.tensor([1 / 6, 0.0, 1 / 6]))


@pytest.mark.parametrize("scalarizer", [STCH(0.1), Tchebycheff()], ids=repr)
def test_minus_infinity_is_not_hidden_by_the_largest(scalarizer):
    assert scalarizer(torch.tensor([1.0, -torch.inf])).isnan()


def test_minima_of_the_plain_one_can_be_only_weakly_optimal():
    better, worse = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert Tchebycheff()(better) == Tchebycheff()(worse)
    assert Tchebycheff(rho=0.1)(better) < Tchebycheff(rho=0.1)(worse)


def test_other_parameters_can_be_assigned():
    scalarizer = STCH(0.1, WEIGHTS)
    scalarizer.mu, scalarizer.weights, scalarizer.reference = 0.5, None, REFERENCE
    values = torch.tensor([3.0, 1.0, 2.0])
    assert_close(scalarizer(values), STCH(0.5, reference=REFERENCE)(values))


def test_what_is_shown():
    assert repr(STCH(0.5, torch.ones(1))) == "STCH(mu=0.5, weights=[1.0])"
    assert repr(Tchebycheff(rho=0.5)) == "Tchebycheff(rho=0.5)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: STCH(0.0), ValueError, "`mu` must be finite and greater than 0. Got 0.0"),
        (lambda: STCH("1"), TypeError, "`mu` must be a number. Got str"),
        (lambda: STCH(1.0, [1.0]), TypeError, "`weights` must be .* tensor or None. Got list"),
        (lambda: STCH(1.0, -WEIGHTS), ValueError, "`weights` must have entries of at least 0"),
        (lambda: STCH(1.0, 0 * WEIGHTS), ValueError, "`weights` must .* one that is greater"),
        (lambda: STCH(1.0, None, REFERENCE / 0), ValueError, "`reference` must have finite"),
        (lambda: Tchebycheff(-WEIGHTS), ValueError, "`weights` must have entries of at least 0"),
        (lambda: Tchebycheff(rho=-1.0), ValueError, "`rho` must be finite and at least 0"),
        (lambda: STCH(1.0, WEIGHTS)(REFERENCE[:2]), ValueError, "`values` .* shape of `weights`"),
        (
            lambda: Tchebycheff(None, REFERENCE)(REFERENCE[None]),
            ValueError,
            r"`values` must have the shape of `reference`, \[3\]. Got shape \[1, 3\]",
        ),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
