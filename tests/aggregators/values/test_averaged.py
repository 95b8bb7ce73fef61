"""The averaged Gramian against the recursion, written out."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.aggregation import GramianWeightedAggregator
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

MATRICES = [gaussian(4, 6, seed) for seed in range(6)]


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.99])
def test_the_average_with_its_bias_corrected(beta):
    aggregator = GramianWeightedAggregator(jd.AveragedWeighting(jd.UPGradWeighting(), beta))
    average = torch.zeros(4, 4, dtype=torch.float64)
    for k, J in enumerate(MATRICES, start=1):
        average = beta * average + (1 - beta) * J @ J.T
        weights = jd.UPGradWeighting()(average / (1 - beta**k))
        assert_close(aggregator(J), weights @ J)


def test_noise_is_averaged_out():
    rows, noise = gaussian(3, 50), torch.Generator().manual_seed(1)
    truth = jd.UPGradWeighting()(rows @ rows.T)
    averaged, errors, own_errors = jd.AveragedWeighting(jd.UPGradWeighting(), 0.99), [], []
    for _ in range(300):
        kick = torch.randn(3, 3, generator=noise, dtype=torch.float64)
        gramian = rows @ rows.T + 4.0 * (kick + kick.T)
        errors.append(float((averaged(gramian) - truth).norm()))
        own_errors.append(float((jd.UPGradWeighting()(gramian) - truth).norm()))
    assert sum(errors[-100:]) < sum(own_errors[-100:]) / 3


def test_a_small_step_is_not_lost_in_half_precision():
    weighting = jd.AveragedWeighting(jd.UPGradWeighting(), beta=0.999)
    weighting(torch.eye(2, dtype=torch.bfloat16))
    for _ in range(5000):
        weights = weighting(torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.bfloat16))
    expected = jd.UPGradWeighting()(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]))
    assert_close(weights.bfloat16(), expected)


@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_a_wrong_share_is_refused(beta):
    with pytest.raises(ValueError, match="`beta` must be finite and at least 0 and less than 1"):
        jd.AveragedWeighting(jd.UPGradWeighting(), beta)
