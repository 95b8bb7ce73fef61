"""NashMTL against its equation, an interior-point solver, and paper and pencil."""

import copy
import math

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian, of_rank, with_row_scales

from .bargains import assert_shared, solvable


def bargain(J):
    return jd.NashMTLWeighting(len(J), max_norm=0.0)(J @ J.T)


@pytest.mark.parametrize("seed", range(200))
def test_random_problems(seed):
    J = solvable(seed)
    assert_shared(J, bargain(J), alpha=1.0)


@pytest.mark.parametrize("lengths", [(1.0, 1.0), (1e-4, 1e4), (3e-30, 5.0)], ids=str)
@pytest.mark.parametrize("angle", [0.0, 60.0, 90.0, 150.0, 179.0])
def test_two_rows_meet_in_the_middle(lengths, angle):
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    directions = torch.tensor([[1.0, 0.0, 0.0], [cosine, sine, 0.0]], dtype=torch.float64)
    J = torch.tensor(lengths, dtype=torch.float64)[:, None] * directions
    expected = directions.sum(0) / math.sqrt(1.0 + cosine)
    assert_close(jd.NashMTL(2, max_norm=0.0)(J), expected)
    assert_close(jd.NashMTL(2)(J), expected / math.sqrt(2.0))


@pytest.mark.parametrize("m", [1, 2, 7, 40])
def test_of_orthogonal_rows_all_directions_count_the_same(m):
    lengths = torch.logspace(-3, 3, m, dtype=torch.float64)
    J = lengths[:, None] * torch.linalg.qr(gaussian(m + 2, m)).Q.T
    assert_close(bargain(J) * lengths, torch.ones(m))


def test_three_rows_by_hand():
    # For rows of length 1 of which the last is at right angles to the others, and these at 60
    # degrees to each other: a = (sqrt(2/3), sqrt(2/3), 1).
    J = torch.tensor([[1.0, 0.0, 0.0], [0.5, math.sqrt(0.75), 0.0], [0.0, 0.0, 1.0]]).double()
    assert_close(bargain(J), torch.tensor([2 / 3, 2 / 3, 1.0]).sqrt(), scale=100.0)


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 2.0, 2.5, 100.0])
def test_the_update_is_no_longer_than_allowed(max_norm):
    J = gaussian(5, 9)
    free, update = jd.NashMTL(5, max_norm=0.0)(J), jd.NashMTL(5, max_norm=max_norm)(J)
    assert_close(free.norm(), torch.tensor(math.sqrt(5.0), dtype=torch.float64))
    assert_close(update.norm(), torch.tensor(min(max_norm, math.sqrt(5.0)), dtype=torch.float64))
    assert_close(update / update.norm(), free / free.norm())


@pytest.mark.parametrize("power", [-300, -100, 10, 300])
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_neither_the_scale_nor_the_lengths_of_rows_count(power, max_norm):
    J = gaussian(6, 8)
    expected = jd.NashMTL(6, max_norm)(J)
    assert_close(jd.NashMTL(6, max_norm)(2.0**power * J), expected)
    assert_close(jd.NashMTL(6, max_norm)(with_row_scales(6, 8, 4.0)), expected)


def test_the_order_of_the_rows_does_not_count():
    J, order = solvable(12), torch.randperm(14, generator=torch.Generator().manual_seed(0))
    assert_close(bargain(J[order]), bargain(J)[order])


def test_rows_of_zeros_have_no_say():
    J = gaussian(3, 5)
    padded = torch.zeros(5, 5, dtype=torch.float64)
    padded[1:4] = J
    weights = bargain(padded)
    assert_close(weights[1:4], bargain(J))
    assert weights[0] == weights[4] == 0.0


STATIONARY = {
    "opposite": torch.tensor([[1.0, 2.0], [-3.0, -6.0]]),
    "a triangle": torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]),
    "one column": torch.tensor([[3.0], [-1e-5], [2.0]]),
    "all around": of_rank(32, 40, 3),
    "within float32": of_rank(32, 40, 3).float(),
    "zeros": torch.zeros(4, 3),
    "no columns": torch.zeros(4, 0),
}


@pytest.mark.parametrize("name", STATIONARY)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_at_a_pareto_stationary_point_nothing_moves(name, scale):
    J = scale * STATIONARY[name]
    for max_norm in (0.0, 1.0):
        assert bool((jd.NashMTL(len(J), max_norm)(J) == 0).all())


@pytest.mark.parametrize("sine", [1e-1, 1e-3, 1e-5])
def test_close_to_one_the_direction_is_still_that_of_the_bargain(sine):
    J = torch.tensor([[1.0, sine], [-1.0, sine]], dtype=torch.float64)
    # What a Gramian in float64 can tell of a direction across: its rounding, over sine squared.
    error = jd.NashMTL(2)(J) - torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert float(error.norm()) <= 1e-15 / sine**2


class TestEveryThirdCall:
    MATRICES = [gaussian(4, 6, seed) for seed in range(8)]

    def make(self, **settings):
        return jd.NashMTL(4, update_weights_every=3, **settings)

    def test_weights_are_used_again(self):
        aggregator = self.make(max_norm=0.0)
        for t, J in enumerate(self.MATRICES):
            assert_close(aggregator(J), bargain(self.MATRICES[t - t % 3]) @ J)

    def test_each_update_is_no_longer_than_allowed(self):
        aggregator = self.make(max_norm=0.5)
        for t, J in enumerate(self.MATRICES):
            update = bargain(self.MATRICES[t - t % 3]) @ J
            assert_close(aggregator(J), update * (0.5 / update.norm()).clamp(max=1.0))

    def test_a_call_that_is_not_finite_does_not_count(self):
        aggregator, other = self.make(), self.make()
        broken = self.MATRICES[0].clone()
        broken[0, 0] = torch.nan
        assert not torch.isfinite(aggregator(broken)).all()  # before there is anything to use
        for J in self.MATRICES:
            assert torch.equal(aggregator(J), other(J))
            assert not torch.isfinite(aggregator.weighting(broken @ broken.T)).any()

    def test_a_state_continues_within_a_period(self):
        aggregator, other = self.make(), self.make()
        for J in self.MATRICES[:4]:
            aggregator(J)
        other.load_state_dict(aggregator.state_dict())
        for J in self.MATRICES[4:]:
            assert torch.equal(aggregator(J), other(J))

    def test_reset_begins_a_period(self):
        aggregator = self.make(max_norm=0.0)
        aggregator(self.MATRICES[0])
        aggregator.reset()
        assert_close(aggregator(self.MATRICES[1]), bargain(self.MATRICES[1]) @ self.MATRICES[1])

    def test_other_objectives_need_a_reset(self):
        aggregator = self.make()
        aggregator(self.MATRICES[0])
        aggregator.n_tasks = 3
        with pytest.raises(ValueError, match=r"`reset\(\)` first"):
            aggregator(self.MATRICES[0][:3])
        aggregator.reset()
        assert torch.equal(aggregator(self.MATRICES[0][:3]), jd.NashMTL(3)(self.MATRICES[0][:3]))

    def test_nothing_is_promised_of_the_scale(self):
        aggregator = self.make()
        assert aggregator.degree is None
        aggregator.update_weights_every = 1
        assert aggregator.degree == 0.0


@pytest.mark.parametrize("every", [1, 3])
def test_another_number_of_rows_is_refused_and_changes_nothing(every):
    aggregator = jd.NashMTL(4, update_weights_every=every)
    J = gaussian(4, 6)
    aggregator(J)
    before = copy.deepcopy(aggregator.state_dict())
    with pytest.raises(ValueError, match=r"`n_tasks` must be the number of rows, 3\. Got 4\."):
        aggregator(J[:3])
    after = aggregator.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_tasks": 0}, ValueError, r"`n_tasks` must be at least 1\. Got 0"),
        ({"n_tasks": 2.0}, TypeError, "`n_tasks` must be an int"),
        ({"n_tasks": 2, "max_norm": -1.0}, ValueError, "`max_norm` must be finite and at least 0"),
        ({"n_tasks": 2, "update_weights_every": 0}, ValueError, "`update_weights_every` must be"),
        ({"n_tasks": 2, "optim_niter": "many"}, TypeError, "`optim_niter` must be an int"),
    ],
)
def test_settings_are_checked(settings, error, message):
    with pytest.raises(error, match=message):
        jd.NashMTL(**settings)
