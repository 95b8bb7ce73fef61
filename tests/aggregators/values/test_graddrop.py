"""GradDrop against Algorithm 1 of its paper, entry by entry."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian, with_zero_rows


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draws_of(n, seed=0):
    return torch.rand(n, generator=seeded(seed), dtype=torch.float64)


def drop(rows, draws, f=lambda purity: purity, leak=None):
    """Do as the paper says, an entry at a time."""
    m, n = rows.shape
    leak = torch.zeros(m) if leak is None else leak
    result = torch.zeros(n, dtype=torch.float64)
    for k in range(n):
        column = rows[:, k].double()
        if not column.any():
            continue
        chance = f(0.5 * (1 + column.sum() / column.abs().sum()))
        for i in range(m):
            kept = (chance > draws[k] and column[i] > 0) or (chance < draws[k] and column[i] < 0)
            result[k] += (leak[i] + (1 - leak[i]) * float(kept)) * column[i]
    return result


def hard(purity):
    return (purity > 0.5).to(purity.dtype)


@pytest.mark.parametrize("f", [None, torch.square, hard], ids=["default", "square", "hard"])
@pytest.mark.parametrize("leaks", [False, True])
def test_the_algorithm_of_the_paper(f, leaks):
    for m in (1, 2, 3, 8):
        for seed in range(5):
            rows = with_zero_rows(m, 20, seed) if seed == 4 else gaussian(m, 20, seed)
            rows[:, 3] = 0.0
            leak = torch.rand(m, generator=seeded(9)) if leaks else None
            settings = {} if f is None else {"f": f}
            found = jd.GradDrop(**settings, leak=leak, generator=seeded(seed))(rows)
            expected = drop(rows, draws_of(20, seed), leak=leak, **settings)
            # The leak is of float32.
            assert_close(found, expected, scale=float(rows.abs().sum(0).max()))


def test_the_draws_go_on_from_call_to_call():
    rows, generator = gaussian(3, 50), seeded(5)
    aggregator = jd.GradDrop(generator=seeded(5))
    for _ in range(3):
        draws = torch.rand(50, generator=generator, dtype=torch.float64)
        assert_close(aggregator(rows), drop(rows, draws))


@pytest.mark.parametrize("n", [16384, 16385, 40000])
def test_the_number_of_columns_does_not_matter(n):
    rows = gaussian(3, n).float()
    up, down = rows.clamp(min=0).sum(0), rows.clamp(max=0).sum(0)
    expected = torch.where(up / (up - down) > draws_of(n), up, down)
    assert_close(jd.GradDrop(generator=seeded())(rows), expected)


def test_a_sign_that_all_rows_agree_on_is_kept():
    rows = gaussian(4, 2000).abs()
    rows[:, 1000:] *= -1.0
    assert_close(jd.GradDrop()(rows.float()), rows.sum(0).float())


def test_signs_are_kept_as_often_as_they_prevail():
    rows = torch.tensor([[3.0], [-1.0]]).expand(2, 20000)
    result = jd.GradDrop(generator=seeded())(rows)
    assert set(result.tolist()) == {3.0, -1.0}
    assert float((result > 0).double().mean()) == pytest.approx(0.75, abs=0.02)


def test_all_leaks_is_the_sum():
    rows = gaussian(3, 30)
    assert_close(jd.GradDrop(leak=torch.ones(3))(rows), rows.sum(0))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("leak", [None, torch.tensor([0.0, 0.5])])
@pytest.mark.parametrize("f", [torch.square, lambda purity: 0.3 + 0.4 * purity])
def test_what_is_not_finite_is_so_at_its_coordinate_alone(value, leak, f):
    for seed in range(10):
        rows = gaussian(2, 6, seed)
        expected = jd.GradDrop(f, leak, generator=seeded(seed))(rows)
        rows[seed % 2, 2] = value
        found = jd.GradDrop(f, leak, generator=seeded(seed))(rows)
        assert not found[2].isfinite()
        found[2] = expected[2]
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"f": 3}, TypeError, "`f` must be a function of a tensor. Got int"),
        ({"leak": [0.5]}, TypeError, "`leak` must be a floating-point tensor or None. Got list"),
        ({"leak": torch.ones(2, 1)}, ValueError, r"`leak` must have one entry .* shape \[2, 1\]"),
        ({"leak": torch.tensor([1.5])}, ValueError, r"`leak` must have entries from 0 to 1. Got"),
        ({"leak": torch.tensor([torch.nan])}, ValueError, "`leak` must have entries from 0 to 1"),
        ({"generator": 1}, TypeError, "`generator` must be a torch.Generator or None"),
    ],
)
def test_settings_that_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        jd.GradDrop(**settings)
    aggregator = jd.GradDrop()
    for name, value in settings.items():
        with pytest.raises(error, match=message):
            setattr(aggregator, name, value)


def test_what_does_not_fit_the_matrix_is_refused():
    with pytest.raises(ValueError, match=r"`leak` must have one entry per row, 3. Got 2"):
        jd.GradDrop(leak=torch.ones(2))(torch.eye(3))
    with pytest.raises(ValueError, match=r"`f` must return one probability .* \[3\]. Got \[\]"):
        jd.GradDrop(torch.mean)(torch.eye(3))


def test_what_is_shown():
    assert repr(jd.GradDrop()) == "GradDrop()"
    assert repr(jd.GradDrop(leak=torch.tensor([0.0, 0.5]))) == "GradDrop(leak=[0.0, 0.5])"
