"""ConFIG, from the Gramian alone, against the paper's pseudoinverse of the unit rows."""

import pytest
import torch

from jd_aggregators import ConFIG, ConFIGWeighting
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian, of_rank, opposite, with_row_scales

from .random_problems import jacobian


def by_pseudoinverse(J, p=None):
    """Return the update by equations 2 and 3 of the paper."""
    lengths = J.norm(dim=1, keepdim=True)
    J = J[lengths[:, 0] > 0]
    p = torch.ones(len(lengths), dtype=J.dtype) if p is None else p
    direction = torch.linalg.pinv(J / J.norm(dim=1, keepdim=True), rtol=1e-6) @ p[lengths[:, 0] > 0]
    if direction.norm() < 1e-9:  # orthogonal to all that the rows can reach
        return torch.zeros_like(direction)
    direction = direction / direction.norm()
    return (J @ direction).sum() * direction


@pytest.mark.parametrize("seed", range(300))
def test_random_problems(seed):
    J = jacobian(seed)
    p = torch.rand(len(J), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # A sum over the rows, whose number it grows with; angles are known to half of the digits.
    size = 10 * len(J) * J.norm(dim=1).max()
    assert_close(ConFIG()(J), by_pseudoinverse(J), scale=size)
    assert_close(ConFIG(p)(J), by_pseudoinverse(J, p), scale=size)


@pytest.mark.parametrize("m", [1, 2, 5, 8, 9, 30])
@pytest.mark.parametrize("exponent", [0.0, 4.0])
def test_cosines_are_equal_and_positive(m, exponent):
    J = with_row_scales(m, 2 * m + 1, exponent)
    update = ConFIG()(J)
    cosines = J @ update / J.norm(dim=1) / update.norm()
    assert float(cosines.min()) > 0
    assert_close(cosines, cosines.mean().expand(m))
    assert_close(update.norm(), (J @ update).sum() / update.norm())


@pytest.mark.parametrize("m", [4, 12])
def test_cosines_are_as_preferred(m):
    J = gaussian(m, 30)
    p = torch.linspace(0.0, 2.0, m, dtype=torch.float64)
    update = ConFIG(p)(J)
    cosines = J @ update / J.norm(dim=1) / update.norm()
    assert_close(cosines / cosines[-1], p / p[-1])
    assert_close(ConFIG(7.0 * p)(J), update)


def test_two_rows():
    # Along the bisector, as far as both reach along it.
    J = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert_close(ConFIG()(J), torch.full((2,), 2.5))
    assert_close(ConFIG(torch.tensor([1.0, 0.0]))(J), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("m", [2, 10])
def test_opposite_rows_and_no_preference_give_zero(m):
    assert bool((ConFIG()(opposite(m, 5, 0.0)) == 0).all())
    assert bool((ConFIG(torch.zeros(m))(gaussian(m, 30)) == 0).all())


def test_rows_that_depend_up_to_float32_are_as_if_they_did():
    exact = of_rank(4, 30, 2)
    assert_close(ConFIG()(exact.to(torch.float32)), ConFIG()(exact))


@pytest.mark.parametrize("m", [1, 4, 12])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_traced_code_agrees(m, dtype):
    weighting = ConFIGWeighting(torch.linspace(0.5, 2.0, m))
    torch.compiler.reset()
    traced = torch.compile(weighting, fullgraph=True, backend="eager")
    for J in (gaussian(m, 20), of_rank(m, 20, max(1, m // 2))):
        gramian = (J @ J.T).to(dtype)
        expected = weighting(gramian)
        assert expected.dtype == dtype
        assert_close(traced(gramian), expected)


def test_preferences_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"`pref_vector` must have one entry per row, 3\. Got 2\."):
        ConFIG(torch.ones(2))(gaussian(3, 4))
