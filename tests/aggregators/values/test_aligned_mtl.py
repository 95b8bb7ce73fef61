"""AlignedMTL against the singular value decomposition of the rows, and paper and pencil."""

import pytest
import torch

from jd_aggregators import AlignedMTL, AlignedMTLWeighting
from torchjd.testing import assert_close
from torchjd.testing.matrices import examples, gaussian, of_rank

from .random_problems import jacobian

MODES = ("min", "median", "rmse")
SCALES = {
    "min": lambda squares: squares[-1],
    "median": lambda squares: squares[len(squares) // 2],  # in descending order: the lower one
    "rmse": lambda squares: squares.mean(),
}
# Rows of very different lengths leave few digits of what the other modes stretch.
DECENT = [x for x in examples() if not x.name.startswith(("row scales", "opposite up to"))]


def nonzero_singular_values(J):
    values = torch.linalg.svdvals(J)
    return values[values > 1e-6 * values.amax()]


def balanced(J, mode):
    """Return the rows with all their nonzero singular values replaced, each by the same."""
    left, values, right = torch.linalg.svd(J, full_matrices=False)
    rank = len(nonzero_singular_values(J))
    if rank == 0:
        return torch.zeros_like(J)
    scale = SCALES[mode](values[:rank].square())
    return scale.sqrt() * left[:, :rank] @ right[:rank]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(100))
def test_random_problems(seed, mode):
    J = jacobian(seed)
    p = torch.rand(len(J), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # What is left of a weak component after it is squared: half of the digits.
    size = 1e4 * J.norm(dim=1).max()
    assert_close(AlignedMTL(p, mode)(J), p @ balanced(J, mode), scale=size)
    assert_close(AlignedMTL(scale_mode=mode)(J), balanced(J, mode).mean(0), scale=size)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("J", [gaussian(5, 12), of_rank(6, 9, 3)], ids=["full rank", "rank 3"])
def test_all_components_become_equal(J, mode):
    m = len(J)
    balance = torch.stack([AlignedMTLWeighting(p, mode)(J @ J.T) for p in torch.eye(m)])
    values = nonzero_singular_values(J)
    expected = SCALES[mode](values.square()).sqrt().expand(len(values))
    assert_close(nonzero_singular_values(balance @ J), expected)


def test_orthogonal_rows_are_cut_to_the_shortest():
    J = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 8.0]])
    assert_close(AlignedMTL()(J), torch.full((3,), 2 / 3))
    assert_close(AlignedMTL(scale_mode="median")(J), torch.full((3,), 3 / 3))
    mean = ((4.0 + 9.0 + 64.0) / 3) ** 0.5
    assert_close(AlignedMTL(scale_mode="rmse")(J), torch.full((3,), mean / 3))


def test_the_median_of_two_is_the_lower():
    J = torch.diag(torch.tensor([2.0, 6.0]))
    assert_close(AlignedMTL(scale_mode="median")(J), torch.ones(2))


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_depend_up_to_float32_are_as_if_they_did(mode):
    exact = of_rank(4, 30, 2)
    expected = AlignedMTL(scale_mode=mode)(exact)
    assert_close(AlignedMTL(scale_mode=mode)(exact.to(torch.float32)), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("J", [x.matrix for x in DECENT], ids=[name for name, _ in DECENT])
def test_scale_and_order_do_not_matter(J, mode):
    update = AlignedMTL(scale_mode=mode)(J)
    size = max(1.0, float(J.norm(dim=1).max()))
    for scale in (1e-30, 1e30):
        assert_close(AlignedMTL(scale_mode=mode)(scale * J) / scale, update, scale=size)
    assert_close(AlignedMTL(scale_mode=mode)(J.flip(0)), update, scale=size)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("m", [1, 3, 12])
def test_traced_code_agrees(m, mode):
    weighting = AlignedMTLWeighting(scale_mode=mode)
    gramian = of_rank(m, 20, max(1, m // 2)) @ of_rank(m, 20, max(1, m // 2)).T
    torch.compiler.reset()
    traced = torch.compile(weighting, fullgraph=True, backend="eager")
    assert_close(traced(gramian), weighting(gramian))
    assert bool(traced(gramian * torch.nan).isnan().all())


@pytest.mark.parametrize("value", ["max", "Min", None, 1])
def test_unknown_modes_are_refused(value):
    with pytest.raises(ValueError, match="`scale_mode` must be one of 'min', 'median', 'rmse'"):
        AlignedMTL(scale_mode=value)


def test_preferences_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"`pref_vector` must have one entry per row, 3\. Got 2\."):
        AlignedMTL(torch.ones(2))(gaussian(3, 4))
