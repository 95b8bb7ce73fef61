"""PCGrad against Algorithm 1 of its paper, on the rows themselves."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import examples, gaussian, of_rank, with_zero_rows

from .orders import drawn_orders

J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def surgery(rows, orders):
    """Do as the paper says, a row and a partner at a time."""
    total = torch.zeros_like(rows[0])
    for i, order in enumerate(orders):
        own = rows[i].clone()
        for j in order:
            product = own @ rows[j]
            if product < 0:
                own -= product / (rows[j] @ rows[j]) * rows[j]
        total += own
    return total


@pytest.fixture(params=["few rows apart", "all alike"])
def _each_way(request, monkeypatch):
    """Let few rows be computed in plain arithmetic, and then as many rows are."""
    if request.param == "all alike":
        monkeypatch.setattr("jd_aggregators._pcgrad.FEW", 0)


@pytest.mark.usefixtures("_each_way")
def test_the_algorithm_of_the_paper():
    for m in (1, 2, 3, 5, 8, 12, 13, 20):
        for seed in range(12):
            rows = of_rank(m, 9, min(m, 1 + seed % 9), seed)
            rows[seed % m] *= 10.0 ** (seed % 5 - 2)
            expected = surgery(rows, drawn_orders(m, seeded(seed)))
            size = float(rows.norm(dim=1).max())
            assert_close(jd.PCGrad(generator=seeded(seed))(rows), expected, scale=size)


@pytest.mark.usefixtures("_each_way")
def test_the_draws_go_on_from_call_to_call():
    aggregator, generator = jd.PCGrad(generator=seeded(7)), seeded(7)
    rows = gaussian(6, 4)
    found = [aggregator(rows) for _ in range(4)]
    for update in found:
        assert_close(update, surgery(rows, drawn_orders(6, generator)))
    assert not torch.allclose(found[0], found[1])


@pytest.mark.usefixtures("_each_way")
def test_two_conflicting_rows_by_hand():
    g, h = J
    expected = g - (g @ h) / (h @ h) * h + h - (g @ h) / (g @ g) * g
    assert_close(jd.PCGrad()(J), expected)
    assert_close(jd.PCGradWeighting()(J @ J.T), 1 - (g @ h) / torch.stack([g @ g, h @ h]))


@pytest.mark.usefixtures("_each_way")
def test_rows_that_agree_are_added():
    agreeing = gaussian(5, 3).abs()
    assert_close(jd.PCGrad()(agreeing), agreeing.sum(dim=0))


@pytest.mark.usefixtures("_each_way")
def test_rows_of_zeros_change_nothing():
    rows = with_zero_rows(6, 4)
    found = jd.PCGrad(generator=seeded())(rows)
    assert_close(found, surgery(rows, drawn_orders(6, seeded())))
    weights = jd.PCGradWeighting(generator=seeded())(rows @ rows.T)
    assert torch.equal(weights[1::2], torch.ones(3, dtype=torch.float64))


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(("i", "j"), [(0, 0), (1, 1), (0, 1)])
@pytest.mark.parametrize("m", [2, 5])
def test_no_weight_is_finite_if_the_gramian_is_not(value, i, j, m):
    gramian = torch.eye(m)
    gramian[i, j] = gramian[j, i] = value
    assert not jd.PCGradWeighting()(gramian).isfinite().any()
    assert not jd.PCGradWeighting()(torch.full((1, 1), value)).isfinite().any()


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_squares_beyond_the_range_of_float32_do_no_harm(scale):
    rows = gaussian(4, 6).float()
    expected = jd.PCGrad(generator=seeded())(rows)
    found = jd.PCGrad(generator=seeded())(rows * scale) / scale
    assert_close(found, expected, scale=float(rows.norm(dim=1).max()))


def test_both_ways_agree_on_hard_matrices(monkeypatch):
    few = [jd.PCGrad(generator=seeded(1))(matrix) for _, matrix in examples()]
    monkeypatch.setattr("jd_aggregators._pcgrad.FEW", 0)
    for found, (_, matrix) in zip(few, examples(), strict=True):
        size = float(matrix.norm(dim=1).max())
        assert_close(jd.PCGrad(generator=seeded(1))(matrix), found, scale=size)


def test_the_generator_is_named():
    with pytest.raises(TypeError, match=r"positional argument"):
        jd.PCGrad(seeded())
    with pytest.raises(TypeError, match=r"`generator` must be a torch.Generator or None. Got int"):
        jd.PCGrad(generator=3)
    aggregator = jd.PCGrad()
    aggregator.generator = seeded(3)
    rows = gaussian(5, 4)
    assert torch.equal(aggregator(rows), jd.PCGrad(generator=seeded(3))(rows))


@pytest.mark.usefixtures("_each_way")
def test_the_default_device_plays_no_part():
    rows = gaussian(4, 9)
    with torch.device("meta"):
        found = jd.PCGrad(generator=seeded())(rows)
    assert torch.equal(found, jd.PCGrad(generator=seeded())(rows))
