"""GradVac against Algorithm 1 of its paper, on the rows themselves."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import examples, gaussian, of_rank

from .orders import drawn_orders


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def vaccinate(rows, orders, targets, beta):
    """Do as the paper says, a row and a partner at a time; ``targets`` are updated."""
    total = torch.zeros_like(rows[0])
    for i, order in enumerate(orders):
        own = rows[i].clone()
        for j in order:
            other = rows[j]
            cosine, target = own @ other / (own.norm() * other.norm()), targets[i, j].clone()
            if cosine < target:
                sine, sine_of_target = (1 - cosine**2).sqrt(), (1 - target**2).sqrt()
                factor = own.norm() * (target * sine - cosine * sine_of_target)
                own = own + factor / (other.norm() * sine_of_target) * other
            targets[i, j] = (1 - beta) * target + beta * cosine
        total += own
    return total


@pytest.fixture(params=["few rows apart", "all alike"])
def _each_way(request, monkeypatch):
    """Let few rows be computed in plain arithmetic, and then as many rows are."""
    if request.param == "all alike":
        monkeypatch.setattr("jd_aggregators._gradvac.FEW", 0)


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_the_algorithm_of_the_paper(beta):
    for m in (2, 3, 5, 12, 13, 18):
        for seed in range(3):
            aggregator, generator = jd.GradVac(beta, generator=seeded(seed)), seeded(seed)
            targets = torch.zeros(m, m, dtype=torch.float64)
            for step in range(5):
                rows = gaussian(m, 30, 100 * seed + step) + 0.5
                rows[step % m] *= 1e3
                expected = vaccinate(rows, drawn_orders(m, generator), targets, beta)
                size = float(rows.norm(dim=1).max())
                assert_close(aggregator(rows), expected, scale=size)


@pytest.mark.usefixtures("_each_way")
def test_the_first_call_is_that_of_pcgrad():
    for m in (2, 4, 9, 13):
        rows = of_rank(m, 6, min(m, 4), m)
        expected = jd.PCGrad(generator=seeded(m))(rows)
        assert_close(jd.GradVac(generator=seeded(m))(rows), expected)


@pytest.mark.usefixtures("_each_way")
def test_rows_get_the_cosine_that_is_usual():
    usual = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    aggregator = jd.GradVac(beta=1.0)
    assert_close(aggregator(usual), usual.sum(dim=0))
    # Each of two orthogonal rows of length 1 gets 3/4 of the other: the cosine is 3/5 then.
    assert_close(aggregator(torch.eye(2, dtype=torch.float64)), torch.tensor([1.75, 1.75]))
    # And that of before was 0, so that now rows of a positive cosine stay.
    assert_close(aggregator(usual), usual.sum(dim=0))


@pytest.mark.usefixtures("_each_way")
def test_a_row_of_zeros_has_no_cosine():
    usual = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    aggregator = jd.GradVac(beta=1.0)
    aggregator(usual)
    for zero in (0, 1):
        rows = torch.eye(2, dtype=torch.float64)
        rows[zero] = 0.0
        assert_close(aggregator(rows), rows.sum(dim=0))
    assert_close(aggregator(torch.eye(2, dtype=torch.float64)), torch.tensor([1.75, 1.75]))


@pytest.mark.usefixtures("_each_way")
def test_a_target_of_one_is_approached_as_eps_allows():
    same, eye = torch.ones(2, 3, dtype=torch.float64), torch.eye(2, 3, dtype=torch.float64)
    for eps in (1e-2, 1e-4):
        aggregator = jd.GradVac(beta=1.0, eps=eps)
        aggregator(same)
        assert_close(aggregator(1e20 * eye) / 1e20, (1 + eps**-0.5) * eye.sum(dim=0))
    aggregator = jd.GradVac(beta=1.0, eps=0.0)
    aggregator(same)
    assert aggregator(eye).isfinite().all()


@pytest.mark.usefixtures("_each_way")
def test_what_is_left_of_opposite_rows_is_no_direction():
    row = gaussian(1, 7)
    opposite = torch.cat([row, -3 * row])
    aggregator = jd.GradVac(beta=1.0)
    assert_close(aggregator(opposite), torch.zeros(7), scale=float(opposite.norm()))
    rows = torch.eye(2, 7, dtype=torch.float64)
    assert_close(aggregator(rows), rows.sum(dim=0))  # the cosines were -1: 0 is above them


@pytest.mark.usefixtures("_each_way")
def test_what_is_not_finite_leaves_the_targets():
    usual = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    weighting = jd.GradVacWeighting(beta=1.0)
    weighting(usual @ usual.T)
    before = weighting.state_dict()["_targets"].clone()
    for value in (torch.nan, torch.inf):
        assert not weighting(torch.tensor([[1.0, 0.0], [0.0, value]])).isfinite().any()
    assert torch.equal(weighting.state_dict()["_targets"], before)
    assert_close(before, torch.tensor([[0.0, 0.6], [0.6, 0.0]], dtype=torch.float64))


def test_both_ways_agree_on_hard_matrices(monkeypatch):
    few = [jd.GradVac(generator=seeded(1))(matrix) for _, matrix in examples()]
    monkeypatch.setattr("jd_aggregators._gradvac.FEW", 0)
    for found, (_, matrix) in zip(few, examples(), strict=True):
        size = float(matrix.norm(dim=1).max())
        assert_close(jd.GradVac(generator=seeded(1))(matrix), found, scale=size)


def test_reset_forgets_the_targets():
    aggregator = jd.GradVac(beta=1.0)
    aggregator(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"`GradVacWeighting` remembers .* Call `reset\(\)` first"):
        aggregator(torch.eye(3))
    aggregator.reset()
    assert_close(aggregator(torch.eye(3)), torch.ones(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": -0.1}, "`beta` must be finite and at least 0 and at most 1. Got -0.1"),
        ({"beta": 1.5}, "`beta` must be finite and at least 0 and at most 1. Got 1.5"),
        ({"eps": -1e-9}, "`eps` must be finite and at least 0. Got -1e-09"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        jd.GradVac(**settings)
    aggregator = jd.GradVac()
    for name, value in settings.items():
        with pytest.raises(ValueError, match=message):
            setattr(aggregator, name, value)
    assert repr(aggregator) == "GradVac()"
    assert repr(jd.GradVac(0.25)) == "GradVac(beta=0.25)"


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_rows_that_are_always_parallel_stay(sign, beta):
    aggregator = jd.GradVac(beta)
    for step in range(80):
        row = gaussian(1, 9, step)
        rows = torch.cat([row, sign * (1.1 + 0.01 * step) * row])
        found = aggregator(rows)
        if sign > 0 or step > 30:  # by then the target is -1 up to rounding
            assert_close(found, rows.sum(dim=0), scale=float(rows.norm()))
