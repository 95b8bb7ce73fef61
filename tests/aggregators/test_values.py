"""Values that can be checked by hand, or against closed forms."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)


def two_rows(g, h):
    """Project two conflicting rows on each other's half-space: UPGrad of two rows, by hand."""
    return (g - (g @ h) / (h @ h) * h + h - (g @ h) / (g @ g) * g) / 2


def test_upgrad_of_two_conflicting_rows():
    assert_close(jd.UPGrad()(J), two_rows(J[0], J[1]))


def test_upgrad_of_rows_that_agree_is_their_mean():
    agreeing = gaussian(5, 3).abs()
    assert_close(jd.UPGrad()(agreeing), agreeing.mean(dim=0))


def test_upgrad_of_opposite_rows_is_zero():
    opposite = torch.stack([J[0], -2 * J[0]])
    assert_close(jd.UPGrad()(opposite), torch.zeros(3, dtype=torch.float64), scale=10.0)


def test_dualproj_of_two_conflicting_rows():
    mean = J.mean(dim=0)
    assert float(mean @ J[0]) < 0
    projected = mean - (mean @ J[0]) / (J[0] @ J[0]) * J[0]
    assert_close(jd.DualProj()(J), projected)


def test_a_preference_weighs_the_projections():
    preference = torch.tensor([0.25, 3.0], dtype=torch.float64)
    g, h = J
    expected = 0.25 * (g - (g @ h) / (h @ h) * h) + 3.0 * (h - (g @ h) / (g @ g) * g)
    assert_close(jd.UPGrad(preference)(J), expected)
    combined = preference @ J
    assert float(combined @ g) < 0 < float(combined @ h)
    assert_close(jd.DualProj(preference)(J), combined - (combined @ g) / (g @ g) * g)


def test_fixed_weights():
    assert_close(jd.Mean()(J), J.mean(dim=0))
    assert_close(jd.Sum()(J), J.sum(dim=0))
    weights = torch.tensor([0.5, -2.0])
    assert_close(jd.Constant(weights)(J), weights.double() @ J)


def test_random_weights_are_those_of_the_generator():
    draws = torch.randn(2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = draws.softmax(dim=0) @ J
    aggregator = jd.Random(torch.Generator().manual_seed(3))
    assert_close(aggregator(J), expected)
    assert not torch.allclose(aggregator(J), expected)  # another draw each time


def test_random_without_a_generator_differs_between_objects():
    assert not torch.equal(jd.RandomWeighting()(J), jd.RandomWeighting()(J))


@pytest.mark.parametrize(("shape", "m"), [((4,), 4), ((3, 2), 6), ((2, 1, 3), 6)])
def test_flattening_weighs_the_elements_as_a_vector(shape, m):
    jacobian = gaussian(m, 9).view(*shape, 9)
    letters, others = "abc"[: len(shape)], "xyz"[: len(shape)]
    gramian = torch.einsum(f"{letters}n,{others}n->{letters}{others[::-1]}", jacobian, jacobian)
    flat = jacobian.view(m, 9)
    found = jd.Flattening(jd.UPGradWeighting())(gramian)
    assert found.shape == shape
    assert_close(found.flatten(), jd.UPGradWeighting()(flat @ flat.T))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_are_at_least_float32(dtype):
    gramian = (J @ J.T).to(dtype)
    for weighting in (jd.UPGradWeighting(), jd.DualProjWeighting(), jd.MeanWeighting()):
        assert weighting(gramian).dtype == torch.promote_types(dtype, torch.float32)


def test_half_precision_does_not_overflow_inside():
    # Row norms of 1,000: the squares are beyond the range of float16.
    rows = torch.tensor([[1000.0, 0.0], [-800.0, 600.0]])
    assert_close(jd.UPGrad()(rows.half()), two_rows(rows[0], rows[1]))
