"""TrimmedMean against that of scipy, and the comparisons that it sorts by."""

from itertools import product

import pytest
import torch
from scipy.stats import trim_mean

import jd_aggregators as jd
from jd_aggregators._order_statistics import comparisons, is_sorted_faster, middle
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

FEW_COLUMNS, MANY_COLUMNS = 7, 2100


def by_scipy(rows, trim):
    # A proportion from which scipy is sure to count that many values.
    return torch.from_numpy(trim_mean(rows.double().numpy(), (trim + 0.5) / len(rows), axis=0))


@pytest.fixture(params=["by numpy", "by torch"])
def _each_way(request, monkeypatch):
    """Compute with numpy where that is the faster way, and then as without it."""
    if request.param == "by torch":
        monkeypatch.setattr("jd_aggregators._trimmed_mean.numpy_module", lambda: None)


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("n", [FEW_COLUMNS, MANY_COLUMNS])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6, 8, 9, 16, 17, 33])
def test_against_scipy(m, n):
    rows = gaussian(m, n, seed=m)
    rows[0] *= 1e12
    for trim in {0, min(1, (m - 1) // 2), (m - 1) // 4, (m - 1) // 2}:
        expected = by_scipy(rows, trim)
        assert_close(jd.TrimmedMean(trim)(rows), expected, scale=1e12 if trim == 0 else 5.0)


def test_both_ways_are_tried_here():
    assert is_sorted_faster(8, FEW_COLUMNS)
    assert not is_sorted_faster(8, MANY_COLUMNS)


def test_comparisons_sort_whatever_there_is():
    # If they sort all sequences of zeros and ones, they sort all sequences.
    for m in range(1, 12):
        for trim in range((m + 1) // 2):
            pairs = comparisons(m, trim)
            for bits in product((0, 1), repeat=m):
                values = list(bits)
                for low, high, least, greatest in pairs:
                    pair = sorted((values[low], values[high]))
                    values[low] = pair[0] if least else None
                    values[high] = pair[1] if greatest else None
                assert values[trim : m - trim] == sorted(bits)[trim : m - trim]


def test_order_statistics_of_ties_and_both_zeros():
    rows = gaussian(9, 40).round()
    found = torch.stack(middle(rows, 2))
    assert torch.equal(found, rows.sort(dim=0).values[2:7])


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("n", [FEW_COLUMNS, MANY_COLUMNS, 70000])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_so_at_its_coordinate_alone(n, value):
    rows = gaussian(6, n)
    for trim in (0, 1, 2):
        expected = jd.TrimmedMean(trim)(rows)
        broken = rows.clone()
        broken[3, n - 2] = value
        found = jd.TrimmedMean(trim)(broken)
        assert not found[n - 2].isfinite()
        found[n - 2] = expected[n - 2]
        assert torch.equal(found, expected)


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("n", [FEW_COLUMNS, MANY_COLUMNS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_nothing_overflows(dtype, n):
    largest = 0.9 * torch.finfo(dtype).max  # up to rounding
    rows = torch.full((8, n), largest, dtype=dtype)
    rows[0] = -largest
    assert_close(jd.TrimmedMean(1)(rows), torch.full((n,), largest))
    assert_close(jd.TrimmedMean(0)(rows), torch.full((n,), 0.75 * largest, dtype=torch.float64))


@pytest.mark.parametrize("n", [FEW_COLUMNS, MANY_COLUMNS])
def test_it_has_gradients(n):
    rows = torch.arange(6.0)[:, None].repeat(1, n).requires_grad_()
    jd.TrimmedMean(1)(rows).sum().backward()
    expected = torch.tensor([0.0, 0.25, 0.25, 0.25, 0.25, 0.0])[:, None].expand(6, n)
    assert_close(rows.grad, expected)


@pytest.mark.parametrize("n", [FEW_COLUMNS, MANY_COLUMNS])
def test_what_it_is_given_stays_as_it_is(n):
    for rows in (gaussian(8, n), gaussian(n, 8).T):
        before = rows.clone()
        assert_close(jd.TrimmedMean(2)(rows), by_scipy(rows, 2))
        assert torch.equal(rows, before)


def test_blocks_of_several_dtypes_and_sizes():
    dtypes = [torch.float32, torch.float32, torch.bfloat16, torch.float64, torch.float32]
    widths = [3, 40000, 5, 0, 2]
    blocks = [gaussian(5, w, seed=w).to(d) for w, d in zip(widths, dtypes, strict=True)]
    parts, weights = jd.TrimmedMean(1).aggregate_blocks(blocks)
    assert weights is None
    for part, block in zip(parts, blocks, strict=True):
        assert part.dtype == block.dtype
        assert_close(part, by_scipy(block.to(torch.float64), 1))


def test_a_hook_or_a_subclass_sees_one_matrix():
    blocks = [gaussian(5, 3), gaussian(5, 4)]
    shapes = []
    hooked = jd.TrimmedMean(1)
    hooked.register_forward_hook(lambda module, args, result: shapes.append(args[0].shape))

    class Watching(jd.TrimmedMean):
        def forward(self, matrix, /):
            shapes.append(matrix.shape)
            return super().forward(matrix)

    for aggregator in (hooked, Watching(1)):
        parts, _ = aggregator.aggregate_blocks(blocks)
        assert_close(torch.cat(parts), jd.TrimmedMean(1)(torch.cat(blocks, dim=1)))
    assert shapes == [(5, 7), (5, 7)]


def test_too_few_rows_and_wrong_settings():
    message = r"`trim_number` must be less than half of the number of rows, 4. Got 2. Of 4 rows"
    with pytest.raises(ValueError, match=message):
        jd.TrimmedMean(2)(torch.eye(4))
    with pytest.raises(ValueError, match=message):
        jd.TrimmedMean(2).aggregate_blocks([torch.eye(4), torch.eye(4)])
    with pytest.raises(ValueError, match=r"`trim_number` must be at least 0. Got -1"):
        jd.TrimmedMean(-1)
    with pytest.raises(TypeError, match=r"`trim_number` must be an int. Got float"):
        jd.TrimmedMean(1.0)
    aggregator = jd.TrimmedMean(trim_number=0)
    aggregator.trim_number = 1
    assert repr(aggregator) == "TrimmedMean(trim_number=1)"
    assert_close(aggregator(torch.eye(3)), torch.zeros(3), scale=1.0)
