"""Weights of every k-th call, and what the calls between cost."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.aggregation import GramianWeightedAggregator
from torchjd.autojac import jac_to_grad
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

MATRICES = [gaussian(4, 6, seed) for seed in range(8)]


def periodic(every):
    return GramianWeightedAggregator(jd.PeriodicWeighting(jd.UPGradWeighting(), every))


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_weights_are_those_of_the_last_call_that_computed(every):
    aggregator = periodic(every)
    for t, J in enumerate(MATRICES):
        from_ = MATRICES[t - t % every]
        assert_close(aggregator(J), jd.UPGradWeighting()(from_ @ from_.T) @ J)


def test_between_them_no_gramian_is_computed(monkeypatch):
    from torchjd.linalg._blocks import JacobianBlocks

    computed, gramian = [], JacobianBlocks.gramian

    def counted(self, scale=None):
        computed.append(self.m)
        return gramian(self, scale)

    monkeypatch.setattr(JacobianBlocks, "gramian", counted)
    aggregator = periodic(3)
    param = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    for J in MATRICES:
        param.jac = J
        jac_to_grad([param], aggregator)
    assert len(computed) == 3


@pytest.mark.parametrize("n_calls", [1, 2, 3, 4])
def test_a_run_resumes_within_a_period(n_calls):
    first, second = periodic(3), periodic(3)
    for J in MATRICES[:n_calls]:
        first(J)
    second.load_state_dict(first.state_dict())
    for J in MATRICES[n_calls:]:
        assert torch.equal(second(J), first(J))


def test_weights_that_are_not_finite_are_not_kept():
    aggregator = periodic(3)
    broken = MATRICES[0].clone()
    broken[1, 2] = torch.inf
    assert not bool(torch.isfinite(aggregator(broken)).any())
    assert aggregator.needs == "gramian"  # the next call computes, whatever the period
    expected = jd.UPGradWeighting()(MATRICES[1] @ MATRICES[1].T) @ MATRICES[1]
    assert_close(aggregator(MATRICES[1]), expected)
    assert aggregator.needs == "row count"


def test_losses_are_needed_where_weights_are_computed():
    class ByLoss(jd.UPGradWeighting):
        needs_losses = True

        def forward(self, gramian, /, *, losses):
            return losses.to(gramian)

    weighting = jd.PeriodicWeighting(ByLoss(), every=2)
    losses = torch.tensor([1.0, 2.0])
    assert weighting(torch.eye(2), losses=losses).tolist() == [1.0, 2.0]
    assert weighting(torch.eye(2)).tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="`losses` must be given"):
        weighting(torch.eye(2))


def test_what_is_returned_is_not_what_is_kept():
    weighting = jd.PeriodicWeighting(jd.UPGradWeighting(), every=3)
    expected = weighting(torch.eye(2)).clone()
    for _ in range(2):
        weights = weighting(torch.eye(2))
        assert torch.equal(weights, expected)
        weights.zero_()


def test_the_period_can_be_changed():
    weighting = jd.PeriodicWeighting(jd.UPGradWeighting(), every=5)
    weighting(torch.eye(2))
    weighting.every = 1
    assert weighting.needs == "gramian"


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError)])
def test_a_wrong_period_is_refused(every, error):
    with pytest.raises(error, match="`every` must be"):
        jd.PeriodicWeighting(jd.UPGradWeighting(), every)
