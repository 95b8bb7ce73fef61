"""Unit rows, against methods called on rows that were divided beforehand."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.aggregation import (
    GeneralizedWeighting,
    GramianWeightedAggregator,
    MatrixWeighting,
    WeightedAggregator,
)
from torchjd.testing import assert_close, examples
from torchjd.testing.matrices import gaussian, with_row_scales

WRAPPED = {"UPGrad": jd.UPGradWeighting, "DualProj": jd.DualProjWeighting, "Mean": jd.MeanWeighting}


class EqualFromRows(MatrixWeighting):
    def forward(self, matrix, /):
        return torch.full((len(matrix),), 1.0 / len(matrix), dtype=matrix.dtype)


def units(J):
    lengths = J.norm(dim=1, keepdim=True)
    return torch.where(lengths > 0, J / lengths, 0.0)


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("scale", ["mean", "none"])
def test_the_rows_are_of_unit_length(name, scale):
    for example in examples():
        J = example.matrix
        aggregator = GramianWeightedAggregator(jd.NormalizedWeighting(WRAPPED[name](), scale=scale))
        expected = GramianWeightedAggregator(WRAPPED[name]())(units(J))
        size = J.norm(dim=1).mean() if scale == "mean" else 1.0
        assert_close(aggregator(J), size * expected, scale=max(1e-12, float(size)))


@pytest.mark.parametrize(("scale", "power"), [("mean", 1), ("none", 0)])
@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e8, 1e150])
def test_how_it_scales(scale, power, factor):
    J = with_row_scales(4, 7, 2.0)
    aggregator = GramianWeightedAggregator(
        jd.NormalizedWeighting(jd.UPGradWeighting(), scale=scale)
    )
    assert aggregator.degree == power
    assert_close(aggregator(factor * J) / factor**power, aggregator(J))


def test_the_length_of_a_row_plays_no_part_without_a_scale():
    aggregator = GramianWeightedAggregator(
        jd.NormalizedWeighting(jd.UPGradWeighting(), scale="none")
    )
    J = gaussian(5, 8)
    factors = torch.logspace(-6, 6, 5, dtype=torch.float64)[:, None]
    assert_close(aggregator(factors * J), aggregator(J))


def test_a_weighting_that_looks_at_nothing_still_gives_no_weight_to_what_is_not_finite():
    weighting = jd.NormalizedWeighting(jd.MeanWeighting())
    for value in (torch.nan, torch.inf):
        gramian = torch.eye(3)
        gramian[1, 1] = value
        assert not bool(torch.isfinite(weighting(gramian)).all())


def test_half_precision():
    J = gaussian(3, 40).half()
    aggregator = GramianWeightedAggregator(jd.NormalizedWeighting(jd.UPGradWeighting()))
    assert_close(aggregator(J), aggregator(J.double()))


def test_what_cannot_be_normalized_is_refused():
    class OfAnyShape(GeneralizedWeighting):
        def forward(self, gramian, /):
            return gramian

    class AcrossBatches(jd.UPGradWeighting):
        needs = "cross gramian"

    for weighting in (OfAnyShape(), AcrossBatches()):
        with pytest.raises(TypeError, match="`weighting` must work from the Jacobian"):
            jd.NormalizedWeighting(weighting)
    with pytest.raises(ValueError, match="`scale` must be one of 'mean', 'none'"):
        jd.NormalizedWeighting(jd.UPGradWeighting(), scale="length")
    with pytest.raises(ValueError, match=r"`gramian` must be of shape \[m, m\]"):
        jd.NormalizedWeighting(jd.MeanWeighting())(torch.ones(2, 5))


def test_rows_may_differ_by_more_than_their_dtype_can_hold():
    J = gaussian(3, 5) * torch.tensor([[1e25], [1e-25], [1.0]], dtype=torch.float64)
    for dtype in (torch.float64, torch.float32):
        aggregator = WeightedAggregator(jd.NormalizedWeighting(EqualFromRows()))
        assert_close(aggregator(J.to(dtype)), J.norm(dim=1).mean() * units(J).mean(0))
