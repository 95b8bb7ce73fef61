"""What is refused, and in which words."""

import pytest
import torch

import jd_aggregators as jd

DUAL_CONE = [jd.UPGrad, jd.DualProj, jd.UPGradWeighting, jd.DualProjWeighting]


@pytest.mark.parametrize("method", DUAL_CONE)
@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        ([1.0, 2.0], TypeError, "`pref_vector` must be a floating-point tensor.*Got list"),
        (torch.tensor([1, 2]), TypeError, "`pref_vector` must be a float.*Got torch.int64"),
        (torch.ones(2, 2), ValueError, r"`pref_vector` must have one entry.*Got shape \[2, 2\]"),
        (torch.ones(0), ValueError, r"`pref_vector` must have one entry.*Got shape \[0\]"),
        (torch.tensor([1.0, -1.0]), ValueError, "at least 0. Got"),
        (torch.tensor([1.0, torch.nan]), ValueError, "finite.*Got"),
    ],
)
def test_preferences(method, value, error, match):
    with pytest.raises(error, match=match):
        method(value)
    made = method()
    with pytest.raises(error, match=match):
        made.pref_vector = value
    assert made.pref_vector is None  # a refused value changes nothing


@pytest.mark.parametrize("method", [jd.UPGrad, jd.DualProj])
def test_a_preference_of_the_wrong_length(method):
    with pytest.raises(ValueError, match=r"`pref_vector` must have one entry per row, 3. Got 2"):
        method(torch.ones(2))(torch.ones(3, 4))


@pytest.mark.parametrize("method", DUAL_CONE)
@pytest.mark.parametrize(
    ("value", "match"),
    [("quadprog", "must be a DualConeProjector or None. Got str"), (jd.ExactProjector, "instance")],
)
def test_projectors(method, value, match):
    with pytest.raises(TypeError, match=match):
        method(projector=value)


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        ([1.0], TypeError, "`weights` must be a floating-point tensor. Got list"),
        (torch.tensor([1]), TypeError, "Got torch.int64"),
        (torch.ones(1, 1), ValueError, r"in one dimension. Got shape \[1, 1\]"),
    ],
)
def test_constant_weights(value, error, match):
    with pytest.raises(error, match=match):
        jd.Constant(value)


def test_constant_weights_of_the_wrong_length():
    with pytest.raises(ValueError, match=r"`weights` must have one entry per row, 3. Got 2"):
        jd.Constant(torch.ones(2))(torch.ones(3, 4))


def test_generators():
    with pytest.raises(TypeError, match=r"`generator` must be a torch.Generator or None. Got int"):
        jd.Random(0)


@pytest.mark.parametrize("value", [jd.UPGradWeighting, jd.UPGrad(), "UPGrad"])
def test_flattening_needs_a_weighting(value):
    with pytest.raises(TypeError, match=r"`weighting` must be a weighting .* Got"):
        jd.Flattening(value)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2, 3), (2, 2, 2), (0, 0)])
def test_flattening_needs_a_generalized_gramian(shape):
    with pytest.raises(ValueError, match=r"`generalized_gramian` must"):
        jd.Flattening(jd.UPGradWeighting())(torch.zeros(shape))


@pytest.mark.parametrize("weighting", [jd.UPGradWeighting(), jd.DualProjWeighting()])
def test_a_gramian_must_be_square(weighting):
    with pytest.raises(ValueError, match=r"`gramian` must be a Gramian.*Got shape \[2, 3\]"):
        weighting(torch.zeros(2, 3))


def test_parameters_can_be_changed_after_construction():
    aggregator = jd.UPGrad()
    aggregator.pref_vector = torch.tensor([1.0, 2.0])
    assert aggregator.gramian_weighting.pref_vector.tolist() == [1.0, 2.0]
    assert repr(aggregator) == "UPGrad(pref_vector=[1.0, 2.0])"
    projector = jd.ExactProjector()
    aggregator.projector = projector
    assert aggregator.projector is projector
    constant = jd.Constant(torch.ones(2))
    constant.weights = torch.tensor([3.0, 4.0])
    assert repr(constant) == "Constant(weights=[3.0, 4.0])"
