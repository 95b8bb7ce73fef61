"""DWA, against the recursion of the paper in plain loops."""

import math

import pytest
import torch

from torchjd import Stateful
from torchjd.scalarization import DWA
from torchjd.testing import assert_close


def epochs(shape, n_epochs=5, n_batches=3):
    generator = torch.Generator().manual_seed(0)
    size = (n_epochs, n_batches, *shape)
    return torch.rand(size, generator=generator, dtype=torch.float64) + 0.5


def weights_by_hand(means, temperature):
    """Return the weights after epochs with these means, as the paper has them."""
    m = len(means[0]) if means else 0
    if len(means) < 2:
        return None
    rates = [last / before for last, before in zip(means[-1], means[-2], strict=True)]
    powers = [math.exp(rate / temperature) for rate in rates]
    return [m * power / sum(powers) for power in powers]


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)], ids=str)
@pytest.mark.parametrize("temperature", [2.0, 0.3])
def test_the_paper_in_plain_loops(shape, temperature):
    scalarizer = DWA(temperature)
    means = []
    for epoch in epochs(shape):
        weights = weights_by_hand(means, temperature)
        seen = []
        for values in epoch:
            leaf = values.clone().requires_grad_()
            loss = scalarizer(leaf)
            (gradient,) = torch.autograd.grad(loss, leaf)
            x = values.flatten().tolist()
            seen.append(x)
            used = [1.0] * len(x) if weights is None else weights
            expected = sum(w * value for w, value in zip(used, x, strict=True))
            assert_close(loss, torch.tensor(expected, dtype=torch.float64))
            assert_close(gradient.flatten(), torch.tensor(used, dtype=torch.float64))
        scalarizer.step()
        means.append([sum(column) / len(seen) for column in zip(*seen, strict=True)])


def test_it_resumes_in_the_middle_of_an_epoch():
    running = DWA()
    for i, values in enumerate(epochs((4,)).flatten(0, 1)):
        resumed = DWA()
        resumed.load_state_dict(running.state_dict())
        assert resumed(values) == running(values)
        if i % 3 == 2:
            running.step()


def test_a_call_that_is_not_finite_is_left_out():
    one, other = DWA(), DWA()
    for epoch in epochs((2,)):
        for values in epoch:
            assert one(values) == other(values)
            assert other(values * torch.tensor([1.0, torch.nan])).isnan()
        for scalarizer in (one, other):
            scalarizer.step()
    assert one(values) == other(values)


def test_an_epoch_without_calls_changes_nothing():
    scalarizer = DWA()
    scalarizer.step()
    values = epochs((3,))
    for epoch in values[:3]:
        scalarizer(epoch[0])
        scalarizer.step()
    expected = scalarizer.state_dict()
    scalarizer.step()
    scalarizer(torch.full((3,), torch.nan))
    scalarizer.step()
    once_more = DWA()
    once_more.load_state_dict(expected)
    assert scalarizer(values[3, 0]) == once_more(values[3, 0])


def test_a_mean_of_zero_counts_as_no_change():
    scalarizer = DWA()
    for losses in ([0.0, 2.0], [0.0, 2.0]):
        scalarizer(torch.tensor(losses))
        scalarizer.step()
    assert scalarizer(torch.tensor([3.0, 4.0])) == 7.0


def test_the_sums_of_long_epochs_are_exact():
    scalarizer = DWA()
    for last in (1.0, 2.0):
        scalarizer(torch.tensor([2.0**24, last]))
        for _ in range(64):  # each lost, if the sum were float32
            scalarizer(torch.tensor([1.0, last]))
        scalarizer.step()
    means = scalarizer.state_dict()["_last"]
    assert means.tolist() == [(2.0**24 + 64) / 65, 2.0]


def test_the_temperature_counts_at_once():
    cold, warm = DWA(0.1), DWA(5.0)
    for epoch in epochs((3,))[:2]:
        for scalarizer in (cold, warm):
            scalarizer(epoch[0])
            scalarizer.step()
    values = torch.tensor([1.0, 2.0, 3.0])
    expected = cold(values)
    assert warm(values) != expected
    warm.temperature = 0.1
    assert warm(values) == expected


def test_training_goes_on_after_inference():
    scalarizer, expected = DWA(), DWA()
    for epoch in epochs((3,)):
        for values in epoch:
            with torch.inference_mode():
                scalarizer(values)
            expected(values)
            leaf = values.clone().requires_grad_()
            (found,) = torch.autograd.grad(scalarizer(leaf), leaf)
            assert torch.equal(found, torch.autograd.grad(expected(leaf), leaf)[0])
        for each in (scalarizer, expected):
            each.step()


def test_weights_follow_the_dtype_of_the_values():
    scalarizer = DWA()
    for epoch in epochs((3,))[:2]:
        scalarizer(epoch[0])
        scalarizer.step()
    exact = scalarizer(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        loss = scalarizer(torch.tensor([1.0, 2.0, 3.0], dtype=dtype))
        assert loss.dtype == dtype
        assert_close(loss, exact)


def test_the_weights_are_those_of_a_state_that_was_loaded():
    histories = epochs((3,))
    one, other = DWA(), DWA()
    for scalarizer, history in ((one, histories[:2]), (other, histories[2:4])):
        for epoch in history:
            scalarizer(epoch[0])
            scalarizer.step()
    values = histories[4, 0]
    expected = one(values)
    assert other(values) != expected
    other.load_state_dict(one.state_dict())
    assert other(values) == expected
    assert isinstance(other, Stateful)
    other.reset()
    assert other(values) == values.sum()


@pytest.mark.parametrize("ended", [False, True])
def test_another_number_of_values_is_refused(ended):
    scalarizer = DWA()
    scalarizer(torch.ones(2))
    if ended:
        scalarizer.step()
    before = scalarizer.state_dict()
    with pytest.raises(ValueError, match=r"`values` must have the shape of the earlier.*`reset\("):
        scalarizer(torch.ones(3))
    after = scalarizer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    scalarizer.reset()
    assert scalarizer(torch.ones(3)) == 3.0


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf])
def test_temperatures_that_are_refused(temperature):
    with pytest.raises(ValueError, match="`temperature` must be finite and greater than 0"):
        DWA(temperature)
