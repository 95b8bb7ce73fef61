"""Mean, Sum, Constant and Random: sums with weights that the values do not change."""

import pytest
import torch
from torch import nn

from torchjd.scalarization import Constant, Mean, Random, Sum
from torchjd.testing import assert_close

SHAPES = [(), (1,), (4,), (2, 3), (2, 1, 2)]


def draw(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(scalarizer, values):
    leaf = values.clone().requires_grad_()
    return torch.autograd.grad(scalarizer(leaf), leaf)[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape):
    values, weights = draw(shape), draw(shape, seed=1)
    n = values.numel()
    listed, chosen = values.flatten().tolist(), weights.flatten().tolist()
    ones = torch.ones(shape, dtype=torch.float64)
    by_hand = sum(w * x for w, x in zip(chosen, listed, strict=True))
    for scalarizer, expected, slope in (
        (Sum(), sum(listed), ones),
        (Mean(), sum(listed) / n, ones / n),
        (Constant(weights), by_hand, weights),
    ):
        assert_close(scalarizer(values), torch.tensor(expected, dtype=torch.float64), scale=1.0)
        assert_close(gradient(scalarizer, values), slope)


def test_constant_keeps_a_copy():
    weights = torch.tensor([1.0, 2.0])
    scalarizer = Constant(weights)
    weights.zero_()
    assert scalarizer(torch.ones(2)) == 3.0


def test_constant_takes_other_weights():
    scalarizer = Constant(torch.tensor([1.0, 2.0]))
    scalarizer.weights = torch.tensor([[1.0], [-4.0]])
    assert scalarizer(torch.ones(2, 1)) == -3.0


def test_constant_moves_along_and_saves_nothing():
    scalarizer = nn.ModuleList([Constant(torch.tensor([1.0, 2.0]))]).double()
    assert scalarizer[0].weights.dtype == torch.float64
    assert scalarizer.state_dict() == {}
    assert list(scalarizer.parameters()) == []


def test_constant_shows_its_weights():
    assert repr(Constant(torch.tensor([1.0, 2.0]))) == "Constant(weights=[1.0, 2.0])"


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0], TypeError, "`weights` must be a floating-point tensor. Got list"),
        (
            torch.tensor([1]),
            TypeError,
            "`weights` must be a float.* Got torch.int64",
        ),
        (None, TypeError, "`weights` must be a floating-point tensor. Got NoneType"),
        (nn.Parameter(torch.ones(2)), ValueError, "`weights` must not require grad"),
        (torch.empty(0), ValueError, "`weights` must have one entry per value"),
        (torch.tensor([torch.nan]), ValueError, "`weights` must have finite entries"),
    ],
)
def test_constant_refuses(weights, error, message):
    with pytest.raises(error, match=message):
        Constant(weights)
    scalarizer = Constant(torch.ones(2))
    with pytest.raises(error, match=message):
        scalarizer.weights = weights
    assert scalarizer.weights.tolist() == [1.0, 1.0]


def test_constant_refuses_values_of_another_shape():
    with pytest.raises(ValueError, match=r"`values` must have the shape of `weights`, \[2\]"):
        Constant(torch.ones(2))(torch.ones(2, 1))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_weights_of_random_are_positive_and_sum_to_one(shape):
    scalarizer = Random(generator=torch.Generator().manual_seed(0))
    drawn = [gradient(scalarizer, draw(shape)) for _ in range(20)]
    for weights in drawn:
        assert weights.shape == shape
        assert bool((weights > 0).all())
        assert_close(weights.sum(), torch.ones(()))
    if drawn[0].numel() > 1:
        assert not torch.equal(drawn[0], drawn[1])


def test_the_weights_of_random_are_softmaxes_of_normal_numbers():
    n = 20_000
    scalarizer = Random(generator=torch.Generator().manual_seed(0))
    logs = gradient(scalarizer, torch.zeros(n, dtype=torch.float64)).log()
    logs = logs - logs.mean()
    # Moments of a normal distribution, within four standard errors.
    assert abs(float((logs**2).mean()) - 1) < 4 * (2 / n) ** 0.5
    assert abs(float((logs**3).mean())) < 4 * (15 / n) ** 0.5
    assert abs(float((logs**4).mean()) - 3) < 4 * (96 / n) ** 0.5


def test_random_seeds_itself():
    values = torch.arange(5.0)
    before = torch.random.get_rng_state()
    assert Random()(values) != Random()(values)
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_refuses_what_is_no_generator():
    with pytest.raises(TypeError, match=r"`generator` must be a torch.Generator or None. Got int"):
        Random(generator=3)
