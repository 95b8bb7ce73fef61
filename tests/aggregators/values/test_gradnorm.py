"""GradNorm against the algorithm of the paper, in Python's own numbers."""

from math import sqrt

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

from .histories import assert_compiled_agrees, jacobians, losses


def algorithm(matrices, values, alpha, lr, min_weight=1e-3):
    """Yield the weights of each step, from before its update."""
    m = len(matrices[0])
    weights, first = [1.0] * m, values[0].tolist()
    for J, loss in zip(matrices, values, strict=True):
        yield torch.tensor(weights, dtype=torch.float64)
        lengths = [sqrt(sum(entry**2 for entry in row)) for row in J.tolist()]
        norms = [w * length for w, length in zip(weights, lengths, strict=True)]
        rates = [float(loss[i]) / first[i] for i in range(m)]
        mean_norm, mean_rate = sum(norms) / m, sum(rates) / m
        targets = [mean_norm * (rate / mean_rate) ** alpha for rate in rates]
        for i in range(m):
            slope = lengths[i] * ((norms[i] > targets[i]) - (norms[i] < targets[i]))
            weights[i] = max(weights[i] - lr * slope, min_weight)
        weights = [m * w / sum(weights) for w in weights]


@pytest.mark.parametrize("m", [1, 4, 9])
@pytest.mark.parametrize(("alpha", "lr"), [(1.5, 0.025), (0.12, 0.001), (3.0, 0.5)])
def test_the_algorithm(m, alpha, lr):
    weighting, aggregator = jd.GradNormWeighting(alpha, lr), jd.GradNorm(alpha, lr)
    matrices, values = jacobians(m), losses(m)
    expected = algorithm(matrices, values, alpha, lr)
    for J, loss, weights in zip(matrices, values, expected, strict=True):
        assert_close(weighting(J @ J.T, losses=loss), weights)
        assert_close(aggregator(J, losses=loss), weights @ J, scale=float(J.norm()))


def test_the_gradient_is_that_of_autograd():
    # With the targets held fixed, as the paper says.
    J, lr = gaussian(4, 6), 1e-3
    lengths = J.norm(dim=1)
    weighting = jd.GradNormWeighting(lr=lr)
    first, second = torch.ones(4), torch.tensor([1.0, 0.5, 0.25, 2.0], dtype=torch.float64)
    weights = [weighting(J @ J.T, losses=first).double(), weighting(J @ J.T, losses=second)]
    found = weighting(J @ J.T, losses=second)
    w = weights[1].clone().requires_grad_()
    norms = w * lengths
    targets = (norms.mean() * (second / second.mean()) ** 1.5).detach()
    (norms - targets).abs().sum().backward()
    moved = w.detach() - lr * w.grad
    assert_close(found, 4 * moved / moved.sum())


def test_norms_go_to_their_targets():
    J = torch.tensor([[10.0, 0.0], [0.0, 0.1]], dtype=torch.float64)
    aggregator = jd.GradNorm(lr=1e-3)
    for _ in range(3000):
        direction = aggregator(J, losses=torch.ones(2))
    assert abs(float(direction[0] / direction[1]) - 1.0) < 0.2


def test_the_slower_objective_gets_more():
    J, first = torch.eye(2), torch.tensor([1.0, 100.0])
    aggregator = jd.GradNorm()
    aggregator(J, losses=first)
    for _ in range(5):
        direction = aggregator(J, losses=torch.tensor([0.9, 10.0]))
    assert float(direction[0]) > 1.05 > 0.95 > float(direction[1])


def test_the_weights_stay_positive_and_of_sum_m():
    weighting = jd.GradNormWeighting(lr=100.0)
    for J, loss in zip(jacobians(), losses(), strict=True):
        weights = weighting(J @ J.T, losses=loss)
        assert bool((weights > 0).all())
        assert_close(weights.sum(), torch.tensor(4.0))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_units_of_the_losses_play_no_part(scale):
    one, other = jd.GradNormWeighting(), jd.GradNormWeighting()
    units = torch.tensor([1.0, scale, 1.0, 1 / scale], dtype=torch.float64)
    for J, loss in zip(jacobians(), losses(), strict=True):
        assert_close(one(J @ J.T, losses=loss), other(J @ J.T, losses=units * loss))


def test_a_loss_that_was_zero_begins_when_it_is_not():
    weighting = jd.GradNormWeighting()
    G = torch.eye(2, dtype=torch.float64)
    for loss in ([1.0, 0.0], [1.0, 0.0], [1.0, 5.0]):
        assert_close(weighting(G, losses=torch.tensor(loss)), torch.ones(2))
    weighting(G, losses=torch.tensor([1.0, 2.5]))
    weights = weighting(G, losses=torch.tensor([1.0, 2.5]))
    assert float(weights[0]) > 1.0 > float(weights[1])


def test_all_losses_zero_is_no_failure():
    weighting = jd.GradNormWeighting()
    weighting(torch.eye(2), losses=torch.ones(2))
    weighting(torch.zeros(2, 2), losses=torch.zeros(2))
    assert weighting(torch.eye(2), losses=torch.ones(2)).tolist() == [1.0, 1.0]


def test_a_negative_loss_is_refused_and_nothing_changes():
    weighting = jd.GradNormWeighting()
    with pytest.raises(ValueError, match=r"`losses` must be at least 0.*Got \[1.0, -2.0\]"):
        weighting(torch.eye(2), losses=torch.tensor([1.0, -2.0]))
    assert weighting.state_dict() == {}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_losses_that_are_not_finite_leave_no_trace(value):
    one, other = jd.GradNorm(), jd.GradNorm()
    broken = torch.tensor([1.0, value, 1.0, 1.0])
    for J, loss in zip(jacobians(), losses(), strict=True):
        assert bool(one(J, losses=broken).isnan().all())
        assert torch.equal(one(J, losses=loss), other(J, losses=loss))


def test_a_gramian_in_half_precision_does_not_overflow():
    gramian = torch.full((4, 4), 3e4, dtype=torch.float16)
    weighting = jd.GradNormWeighting()
    for _ in range(2):
        weights = weighting(gramian, losses=torch.ones(4))
    assert_close(weights, torch.ones(4))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1.0}, "`alpha` must be finite and at least 0. Got -1.0"),
        ({"lr": 0.0}, "`lr` must be finite and greater than 0. Got 0.0"),
        ({"min_weight": 1.0}, "`min_weight` must be finite and greater than 0 and less than 1"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        jd.GradNorm(**parameters)


@pytest.mark.parametrize("m", [2, 8, 20])
def test_it_compiles(m):
    J = gaussian(m, 7)
    assert_compiled_agrees(jd.GradNormWeighting(), J @ J.T, losses=torch.linspace(0.5, 2.0, m))
