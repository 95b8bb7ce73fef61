"""Krum against its definition, on the rows themselves."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian


def krum(rows, f, n_selected):
    """Do as the paper says; of equal scores, the row that comes first has the least."""
    m = len(rows)
    scores = []
    for i in range(m):
        squares = sorted(float((rows[i] - rows[j]).square().sum()) for j in range(m) if j != i)
        scores.append(sum(squares[: m - f - 2]))
    selected = sorted(range(m), key=lambda i: scores[i])[:n_selected]
    return rows[selected].mean(dim=0)


@pytest.fixture(params=["few rows apart", "by numpy", "by torch"])
def _each_way(request, monkeypatch):
    """Let few rows be computed in plain arithmetic, then as many are, with and without numpy."""
    if request.param != "few rows apart":
        monkeypatch.setattr("jd_aggregators._krum._FEW", 0)
    if request.param == "by torch":
        monkeypatch.setattr("jd_aggregators._krum.numpy_module", lambda: None)


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("m", [4, 5, 8, 10, 11, 17])
def test_the_definition_of_the_paper(m):
    for seed in range(15):
        rows = gaussian(m, 6, seed)
        for f in {0, 1, (m - 3) // 2, m - 4}:
            for n_selected in {1, 2, m - f - 2, m}:
                found = jd.Krum(f, n_selected)(rows)
                assert_close(found, krum(rows, f, n_selected), scale=float(rows.abs().max()))


@pytest.mark.usefixtures("_each_way")
def test_distances_are_squared():
    # On a line, each row has two neighbours: at 1 and 5 for the first, 3.5 and 3.5 for the second.
    # The sums of distances are 6 and 7, those of their squares 26 and 24.5.
    rows = torch.tensor([[0.0], [-1.0], [5.0], [20.0], [16.5], [23.5]], dtype=torch.float64)
    assert_close(jd.Krum(n_byzantine=2)(rows), torch.tensor([20.0]))


@pytest.mark.usefixtures("_each_way")
def test_of_equal_scores_the_first_row_is_taken():
    pairs = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, 2.0], [5.0, 1.0]])
    assert_close(jd.Krum(1)(pairs), pairs[0])
    assert_close(jd.Krum(1)(pairs[[1, 0, 2, 3]]), pairs[1])
    assert_close(jd.Krum(1, 2)(pairs[[1, 3, 2, 0]]), (pairs[1] + pairs[3]) / 2)
    same = torch.ones(5, 2)
    assert torch.equal(jd.KrumWeighting(0, 2)(same @ same.T), torch.tensor([0.5, 0.5, 0, 0, 0]))


@pytest.mark.usefixtures("_each_way")
def test_without_equal_scores_the_order_does_not_matter():
    rows = gaussian(9, 5)
    for seed in range(10):
        order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
        assert_close(jd.Krum(2, 3)(rows[order]), jd.Krum(2, 3)(rows))


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("size", [2.0, 1e3, 1e18])
def test_adversaries_are_not_selected(size):
    honest = torch.ones(7, 4) + 0.1 * gaussian(7, 4).float()
    colluding = size * gaussian(1, 4, seed=1).float().expand(3, 4)
    rows = torch.cat([colluding[:1], honest, colluding[1:]])
    found = jd.Krum(n_byzantine=3, n_selected=2)(rows)
    assert float((found - 1.0).abs().max()) < 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_long_rows_of_half_precision_are_ranked_as_they_are(dtype):
    for seed in range(10):
        rows = (300.0 * gaussian(6, 8, seed)).to(dtype)
        assert torch.equal(jd.Krum(1)(rows), krum(rows.double(), 1, 1).to(dtype))


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(("i", "j"), [(0, 0), (0, 3)])
def test_no_weight_is_finite_if_the_gramian_is_not(value, i, j):
    gramian = torch.eye(4)
    gramian[i, j] = gramian[j, i] = value
    assert not jd.KrumWeighting(0)(gramian).isfinite().any()


def test_too_few_rows():
    message = r"`n_byzantine` .* minus 3. Got 2, and 4 rows. Allow for at most 1."
    with pytest.raises(ValueError, match=message):
        jd.Krum(2)(torch.eye(4))
    message = r"`n_selected` must be at most the number of rows, 4. Got 5"
    with pytest.raises(ValueError, match=message):
        jd.Krum(1, 5)(torch.eye(4))
    with pytest.raises(ValueError, match=r"Got 0, and 2 rows. Use another method"):
        jd.Krum(0)(torch.eye(2))


def test_settings():
    with pytest.raises(ValueError, match=r"`n_byzantine` must be at least 0. Got -1"):
        jd.Krum(-1)
    with pytest.raises(ValueError, match=r"`n_selected` must be at least 1. Got 0"):
        jd.Krum(1, 0)
    with pytest.raises(TypeError, match=r"`n_byzantine` must be an int. Got float"):
        jd.Krum(1.0)
    aggregator = jd.Krum(1)
    aggregator.n_selected = 2
    rows = gaussian(6, 3)
    assert torch.equal(aggregator(rows), jd.Krum(1, 2)(rows))
    assert repr(aggregator) == "Krum(n_byzantine=1, n_selected=2)"
