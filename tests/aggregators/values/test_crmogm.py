"""CR-MOGM against its recursion, written out."""

import re

import pytest
import torch

import jd_aggregators as jd
from torchjd.aggregation import GramianWeightedAggregator, WeightedAggregator
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

MATRICES = [gaussian(4, 6, seed) for seed in range(5)]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("initial", [None, torch.tensor([0.1, 0.2, 0.3, 0.4])])
def test_the_average_over_the_steps(alpha, initial):
    aggregator = GramianWeightedAggregator(
        jd.CRMOGMWeighting(jd.UPGradWeighting(), alpha, initial_weights=initial)
    )
    average = initial.double() if initial is not None else None
    for J in MATRICES:
        new = jd.UPGradWeighting()(J @ J.T)
        average = new if average is None else alpha * average + (1 - alpha) * new
        assert_close(aggregator(J), average @ J)


def test_no_average_is_the_wrapped_weighting_to_the_bit():
    weighting = jd.CRMOGMWeighting(jd.UPGradWeighting(), alpha=0.0)
    for J in MATRICES:
        assert torch.equal(weighting(J @ J.T), jd.UPGradWeighting()(J @ J.T))


def test_a_reset_goes_back_to_the_initial_weights():
    initial = torch.tensor([1.0, 0.0, 0.0, 0.0])
    weighting = jd.CRMOGMWeighting(jd.UPGradWeighting(), alpha=1.0, initial_weights=initial)
    initial.zero_()  # the caller's own
    for _ in range(2):
        assert weighting(MATRICES[0] @ MATRICES[0].T).tolist() == [1.0, 0.0, 0.0, 0.0]
        weighting.reset()


def test_what_is_returned_is_not_what_is_remembered():
    weighting, other = (jd.CRMOGMWeighting(jd.UPGradWeighting()) for _ in range(2))
    for J in MATRICES:
        found, expected = weighting(J @ J.T), other(J @ J.T)
        assert torch.equal(found, expected)
        found.zero_()


def test_random_weights_become_even():
    generator = torch.Generator().manual_seed(0)
    weighting = jd.CRMOGMWeighting(jd.RandomWeighting(generator), alpha=0.99)
    drawn = torch.stack([weighting(torch.eye(3)) for _ in range(500)])
    assert float((drawn[-100:] - 1 / 3).abs().max()) < 0.1
    assert WeightedAggregator(weighting).needs == "row count"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"alpha": 1.5}, ValueError, "`alpha` must be finite and at least 0 and at most 1"),
        ({"alpha": "much"}, TypeError, "`alpha` must be a number"),
        ({"initial_weights": [0.5, 0.5]}, TypeError, "`initial_weights` must be a floating-point"),
        (
            {"initial_weights": torch.tensor([0.5, torch.nan])},
            ValueError,
            "`initial_weights` must have one finite entry",
        ),
    ],
)
def test_wrong_parameters_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        jd.CRMOGMWeighting(jd.UPGradWeighting(), **settings)


@pytest.mark.parametrize("shape", [(3,), (), (2, 2)])
def test_initial_weights_of_other_objectives_are_refused(shape):
    weighting = jd.CRMOGMWeighting(jd.UPGradWeighting(), initial_weights=torch.ones(shape))
    found = re.escape(f"Got {list(shape)}.")
    with pytest.raises(ValueError, match=rf"`initial_weights` .* shape \[2\]\. {found}"):
        weighting(torch.eye(2))


def test_it_wraps_a_weighting_of_losses_of_any_shape():
    weighting = jd.CRMOGMWeighting(jd.Flattening(jd.UPGradWeighting()), alpha=0.5)
    weights = []
    for J in MATRICES[:2]:
        rows = J.view(2, 2, 6)
        weights.append(weighting(torch.einsum("abn,cdn->abdc", rows, rows)))
    plain = [jd.UPGradWeighting()(J @ J.T) for J in MATRICES[:2]]
    assert_close(weights[1].flatten(), (plain[0] + plain[1]) / 2)
