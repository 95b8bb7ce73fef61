"""What the weightings that wrap another have in common."""

import pytest
import torch

import jd_aggregators as jd
from tests.fake_cuda import fake_cuda
from torchjd.aggregation import GramianWeightedAggregator, MatrixWeighting, WeightedAggregator
from torchjd.autojac import jac_to_grad
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

WRAPPERS = {
    "CRMOGM": jd.CRMOGMWeighting,
    "Periodic": lambda weighting: jd.PeriodicWeighting(weighting, every=2),
    "Normalized": jd.NormalizedWeighting,
    "Averaged": jd.AveragedWeighting,
}
J = gaussian(3, 5)


class ByLoss(jd.UPGradWeighting):
    """UPGrad weights, times the losses."""

    needs_losses = True

    def forward(self, gramian, /, *, losses):
        return super().forward(gramian) * losses.to(gramian)


class FirstRow(MatrixWeighting):
    """The entries of the first column."""

    def forward(self, matrix, /):
        return matrix[:, 0].clone()


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
class TestWrappers:
    def test_losses_are_passed_on(self, wrap):
        losses = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        plain, by_loss = wrap(jd.UPGradWeighting()), wrap(ByLoss())
        assert (plain.needs_losses, by_loss.needs_losses) == (False, True)
        gramian = J @ J.T
        first = by_loss(gramian, losses=losses)
        if wrap is not jd.NormalizedWeighting:
            assert_close(first, plain(gramian) * losses)
        with pytest.raises(TypeError, match=r"`losses` must be given.*Weighting. reads"):
            wrap(ByLoss())(gramian)

    @pytest.mark.parametrize(
        ("wrong", "remedy"),
        [
            (jd.UPGradWeighting, r"the class UPGradWeighting\. .*`UPGradWeighting\(\)`"),
            (jd.UPGrad(), r"UPGrad, an aggregator\. Pass its weighting, `UPGradWeighting\(\)`"),
            (torch.ones(3), r"Tensor\. Pass an instance"),
        ],
    )
    def test_what_is_no_weighting_is_refused(self, wrap, wrong, remedy):
        with pytest.raises(TypeError, match=rf"`weighting` must be a Weighting\. Got {remedy}"):
            wrap(wrong)

    def test_what_is_no_gramian_is_refused(self, wrap):
        with pytest.raises(ValueError, match="`gramian` must be a Gramian"):
            wrap(jd.UPGradWeighting())(J)

    def test_it_shows_what_it_wraps(self, wrap):
        weighting = wrap(jd.UPGradWeighting())
        assert repr(weighting).startswith(f"{type(weighting).__name__}(UPGradWeighting()")
        assert repr(GramianWeightedAggregator(weighting)).count("UPGradWeighting()") == 1

    def test_reset_reaches_the_innermost(self, wrap):
        inner = jd.CRMOGMWeighting(jd.UPGradWeighting())
        weighting = wrap(inner)
        fresh = weighting(J @ J.T)
        weighting(gaussian(3, 5, 1) @ gaussian(3, 5, 1).T)
        weighting.reset()
        assert all(value is None for value in inner.buffers())
        assert torch.equal(weighting(J @ J.T), fresh)

    def test_the_state_of_both_is_saved(self, wrap):
        gramians = [gaussian(3, 5, seed) for seed in range(4)]
        gramians = [rows @ rows.T for rows in gramians]
        weighting = wrap(jd.CRMOGMWeighting(jd.UPGradWeighting()))
        for gramian in gramians[:2]:
            weighting(gramian)
        resumed = wrap(jd.CRMOGMWeighting(jd.UPGradWeighting()))
        resumed.load_state_dict(weighting.state_dict())
        for gramian in gramians[2:]:
            assert torch.equal(resumed(gramian), weighting(gramian))


REMEMBERING = {name: wrap for name, wrap in WRAPPERS.items() if name != "Normalized"}


@pytest.mark.parametrize("wrap", REMEMBERING.values(), ids=REMEMBERING)
def test_other_objectives_are_refused_until_reset(wrap):
    weighting = wrap(jd.UPGradWeighting())
    for _ in range(2):  # for a periodic one: the next call computes, and is refused all the same
        weighting(torch.eye(3))
        with pytest.raises(ValueError, match=r"Weighting. (remembers|keeps) .*`reset\(\)`"):
            weighting(torch.eye(2))
    weighting.reset()
    assert weighting(torch.eye(2)).shape == (2,)


@pytest.mark.parametrize("wrap", REMEMBERING.values(), ids=REMEMBERING)
def test_a_first_call_that_is_not_finite_leaves_no_trace(wrap):
    weighting, fresh = wrap(jd.UPGradWeighting()), wrap(jd.UPGradWeighting())
    assert not bool(torch.isfinite(weighting(torch.full((3, 3), torch.nan))).any())
    for seed in range(3):
        gramian = gaussian(3, 5, seed) @ gaussian(3, 5, seed).T
        assert torch.equal(weighting(gramian), fresh(gramian))


@pytest.mark.parametrize("name", ["CRMOGM", "Periodic", "Normalized"])
def test_a_weighting_of_the_jacobian_is_wrapped_too(name):
    aggregator = WeightedAggregator(WRAPPERS[name](FirstRow()))
    assert aggregator.needs == "jacobian"
    rows = J / J.norm(dim=1, keepdim=True) if name == "Normalized" else J
    expected = rows[:, 0] @ rows * (J.norm(dim=1).mean() if name == "Normalized" else 1.0)
    assert_close(aggregator(J), expected)


@pytest.mark.parametrize("weighting", [jd.MeanWeighting(), jd.SumWeighting(), FirstRow()])
def test_only_a_gramian_can_be_averaged(weighting):
    with pytest.raises(TypeError, match=r"`weighting` must work from a Gramian.*needs the"):
        jd.AveragedWeighting(weighting)


@pytest.mark.parametrize("name", ["CRMOGM", "Normalized", "Averaged"])
@pytest.mark.parametrize("m", [2, 16])
def test_a_step_reads_nothing_on_the_host(name, m):
    with fake_cuda():
        aggregator = GramianWeightedAggregator(WRAPPERS[name](jd.UPGradWeighting()))
        param = torch.nn.Parameter(torch.empty(4, 3, device="cuda"))
        for _ in range(2):
            param.jac = torch.empty(m, 4, 3, device="cuda")
            jac_to_grad([param], aggregator)
        assert param.grad.device.type == "cuda"


@pytest.mark.parametrize("m", [2, 8, 20])
@pytest.mark.parametrize("name", ["CRMOGM", "Normalized"])
def test_it_traces_whole_where_the_wrapped_one_does(name, m):
    gramian = gaussian(m, 30) @ gaussian(m, 30).T
    plain, traced = (WRAPPERS[name](jd.MeanWeighting()) for _ in range(2))
    torch.compiler.reset()
    compiled = torch.compile(traced, fullgraph=True, backend="eager")
    for _ in range(3):
        assert_close(compiled(gramian), plain(gramian))


@pytest.mark.parametrize("name", ["Periodic", "Averaged"])
def test_losses_of_any_shape_are_counted_as_the_wrapped_one_does(name):
    """A generalized Gramian of 2 samples and 3 tasks is of 6 objectives."""
    rows = gaussian(6, 8)
    generalized = (rows @ rows.T).view(2, 3, 2, 3).movedim(2, 3)
    losses = torch.linspace(0.5, 3.0, 6, dtype=torch.float64).view(2, 3)
    weights = WRAPPERS[name](jd.Flattening(ByLoss()))(generalized, losses=losses)
    assert_close(weights, jd.UPGradWeighting()(rows @ rows.T).view(2, 3) * losses)
