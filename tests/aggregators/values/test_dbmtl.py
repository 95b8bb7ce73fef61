"""DBMTL against the algorithm of the paper, in Python's own numbers."""

from math import sqrt

import pytest
import torch

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

from .histories import assert_compiled_agrees, jacobians, losses


def algorithm(matrices, values, beta, sigma, eps=1e-8):
    """Yield the directions, entry by entry."""
    m, n = matrices[0].shape
    averaged = [[0.0] * n for _ in range(m)]
    for k, (J, loss) in enumerate(zip(matrices, values, strict=True), start=1):
        rows, kept = J.tolist(), beta / k**sigma
        for i in range(m):
            for j in range(n):
                gradient = rows[i][j] / (float(loss[i]) + eps)
                averaged[i][j] = kept * averaged[i][j] + (1 - kept) * gradient
        lengths = [sqrt(sum(entry**2 for entry in row)) for row in averaged]
        longest = max(lengths)
        direction = [sum(longest / lengths[i] * averaged[i][j] for i in range(m)) for j in range(n)]
        yield torch.tensor(direction, dtype=torch.float64)


@pytest.mark.parametrize("m", [1, 4, 9])
@pytest.mark.parametrize(("beta", "sigma"), [(0.9, 0.0), (0.9, 0.5), (0.0, 0.0), (0.3, 1.0)])
def test_the_algorithm(m, beta, sigma):
    aggregator = jd.DBMTL(beta, sigma)
    matrices, values = jacobians(m), losses(m)
    expected = algorithm(matrices, values, beta, sigma)
    for J, loss, direction in zip(matrices, values, expected, strict=True):
        assert_close(aggregator(J, losses=loss), direction, scale=float((J / loss[:, None]).norm()))


def test_without_an_average_it_is_by_hand():
    # The gradients of the logarithms are (4, 0) and (0, 2): both are made 4 long.
    J, loss = torch.tensor([[4.0, 0.0], [0.0, 6.0]]), torch.tensor([1.0, 3.0])
    assert_close(jd.DBMTL(beta=0.0)(J, losses=loss), torch.tensor([4.0, 4.0]))


def test_the_gradient_is_that_of_the_logarithm():
    x = gaussian(1, 5)[0].requires_grad_()
    values = torch.stack([x.square().sum(), (x - 1).square().sum()])
    J = torch.stack([torch.autograd.grad(v, x, retain_graph=True)[0] for v in values])
    logs = torch.stack([torch.autograd.grad(v.log(), x, retain_graph=True)[0] for v in values])
    lengths = logs.norm(dim=1, keepdim=True)
    expected = (lengths.max() * logs / lengths).sum(dim=0)
    found = jd.DBMTL(beta=0.0, eps=1e-30)(J, losses=values)
    assert_close(found, expected)


@pytest.mark.parametrize("unit", [1e-6, 1e3])
def test_the_unit_of_a_loss_plays_no_part(unit):
    one, other = jd.DBMTL(eps=1e-30), jd.DBMTL(eps=1e-30)
    units = torch.tensor([1.0, unit, 1.0, 1.0], dtype=torch.float64)
    for J, loss in zip(jacobians(), losses(), strict=True):
        assert_close(one(J, losses=loss), other(units[:, None] * J, losses=units * loss))


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_all_gradients_may_be_scaled(scale):
    one, other = jd.DBMTL(), jd.DBMTL()
    for J, loss in zip(jacobians(), losses(), strict=True):
        expected = one(J.float(), losses=loss)
        assert_close(other(scale * J.float(), losses=loss) / scale, expected)


@pytest.mark.parametrize(
    ("short", "long"), [(1e-30, 1e30), (1e-30, 1e-3), (1e-10, 1e30), (1e-38, 1e38)]
)
def test_lengths_may_be_as_far_apart_as_the_dtype_has_them(short, long):
    J = torch.tensor([[short, 0.0], [0.0, long]])
    found = jd.DBMTL(beta=0.0)(J, losses=torch.ones(2))
    assert_close(found, torch.full((2,), long))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rows_of_zeros_stay_zero(dtype):
    J = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=dtype)
    aggregator = jd.DBMTL(beta=0.0, eps=1e-30)
    assert_close(aggregator(J, losses=torch.ones(2)), torch.tensor([3.0, 4.0]))
    # Of what has squares of zero even in float64, nothing is known but that it is small.
    assert torch.equal(aggregator(1e-200 * J, losses=torch.ones(2)), torch.zeros(2, dtype=dtype))


def test_a_loss_of_zero_is_none_to_fail_at():
    J = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    found = jd.DBMTL(beta=0.0)(J, losses=torch.tensor([1.0, 0.0]))
    assert_close(found, torch.tensor([3.0, 4.0]))


def test_a_negative_loss_is_refused_and_nothing_changes():
    aggregator = jd.DBMTL()
    aggregator(torch.eye(2), losses=torch.ones(2))
    before = {name: kept.clone() for name, kept in aggregator.state_dict().items()}
    with pytest.raises(ValueError, match=r"`losses` must be at least 0.*Got \[1.0, -2.0\]"):
        aggregator(torch.eye(2), losses=torch.tensor([1.0, -2.0]))
    assert all(torch.equal(kept, before[name]) for name, kept in aggregator.state_dict().items())


def test_a_negative_loss_in_a_compiled_graph_gives_nan():
    torch.compiler.reset()
    compiled = torch.compile(jd.DBMTL().forward, fullgraph=True, backend="eager")
    assert bool(compiled(torch.eye(2), losses=torch.tensor([1.0, -2.0])).isnan().all())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_losses_that_are_not_finite_leave_no_trace(value):
    one, other = jd.DBMTL(), jd.DBMTL()
    broken = torch.tensor([1.0, value, 1.0, 1.0])
    for J, loss in zip(jacobians(), losses(), strict=True):
        assert bool(one(J, losses=broken).isnan().all())
        assert torch.equal(one(J, losses=loss), other(J, losses=loss))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beta": 1.0}, "`beta` must be finite and at least 0 and less than 1. Got 1.0"),
        ({"beta_sigma": -1.0}, "`beta_sigma` must be finite and at least 0. Got -1.0"),
        ({"eps": 0.0}, "`eps` must be finite and greater than 0. Got 0.0"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        jd.DBMTL(**parameters)


@pytest.mark.parametrize("m", [2, 8, 20])
def test_it_compiles(m):
    assert_compiled_agrees(jd.DBMTL(), gaussian(m, 7), losses=torch.linspace(0.5, 2.0, m))
