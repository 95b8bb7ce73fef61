"""EPO against the linear program of the paper, solved by scipy, and where it leads."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import jd_aggregators as jd
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian, of_rank, with_row_scales


def program(J, losses, r, eps=1e-4):
    """The program as the paper has it, row by row: objective, rows of the constraints, bounds."""
    m = len(losses)
    r = [m * value / sum(r) for value in r]
    total = sum(r[j] * losses[j] for j in range(m))
    shares = [r[j] * losses[j] / total for j in range(m)]
    mu = sum(share * np.log(m * share) for share in shares)
    G = (J @ J.T).numpy()
    if mu <= eps:
        return G @ np.ones(m), G, np.zeros(m)
    a = np.array([r[j] * (np.log(m * shares[j]) - mu) for j in range(m)])
    worst = max(r[j] * losses[j] for j in range(m))
    rows, bounds = [], []
    for j in range(m):
        if r[j] * losses[j] == worst:
            bound = 0.0
        elif (G @ a)[j] > 0:
            continue
        else:
            bound = (G @ a)[j] if (G @ a > 0).any() else 0.0
        rows.append(G[j])
        bounds.append(bound)
    return G @ a, np.array(rows), np.array(bounds)


def solved(c, A, b):
    n = len(c)
    found = linprog(-c, A_ub=-A, b_ub=-b, A_eq=np.ones((1, n)), b_eq=[1.0])
    assert found.status == 0
    return found.x, -found.fun


@pytest.mark.parametrize("kind", ["gaussian", "rank 2", "row scales"])
@pytest.mark.parametrize("balanced", [False, True])
def test_it_solves_the_program_of_the_paper(kind, balanced):
    make = {
        "gaussian": gaussian,
        "rank 2": lambda m, n, seed: of_rank(m, n, 2, seed),
        "row scales": lambda m, n, seed: with_row_scales(m, n, 1.0, seed),
    }[kind]
    for seed in range(60):
        m = 2 + seed % 7
        J = make(m, 3 + seed % 9, seed)
        r = gaussian(1, m, seed + 500)[0].exp()
        losses = 1 / r if balanced else gaussian(1, m, seed + 900)[0].exp()
        weights = jd.EPOWeighting(r)(J @ J.T, losses=losses)
        c, A, b = program(J, losses.tolist(), r.tolist())
        _, best = solved(c, A, b)
        size = float(J.norm(dim=1).max()) ** 2 * max(1.0, float(np.abs(c).max()))
        assert float(weights.min()) >= 0
        assert abs(float(weights.sum()) - 1.0) < 1e-12
        assert (A @ weights.numpy() - b).min() > -1e-9 * size
        assert abs(c @ weights.numpy() - best) < 1e-7 * size


def test_a_single_solution_is_found_to_the_last_digits():
    for seed in range(30):
        J, losses = gaussian(3, 40, seed), gaussian(1, 3, seed + 900)[0].exp()
        expected, _ = solved(*program(J, losses.tolist(), [1.0] * 3))
        assert_close(jd.EPO()(J, losses=losses), torch.from_numpy(expected) @ J)


@pytest.mark.parametrize("preference", [[1.0, 1.0], [1.0, 4.0], [5.0, 1.0]])
def test_descent_ends_at_the_pareto_point_on_the_ray(preference):
    """Of two losses with known optima a and b, all between the two points is Pareto-optimal."""
    a, b = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([0.3, 0.8], dtype=torch.float64)
    r = torch.tensor(preference)
    aggregator = jd.EPO(r, eps=1e-6)
    for step in range(3000):
        losses = torch.stack([(x - a) @ (x - a), (x - b) @ (x - b)])
        J = 2 * torch.stack([x - a, x - b])
        x = x - 0.05 / (1 + 0.02 * step) * aggregator(J, losses=losses)
    weighted = r * losses
    assert abs(float(weighted[0] / weighted[1]) - 1) < 0.02
    assert abs(float(x[1])) < 0.01  # on the segment between them


def test_only_the_ratios_of_the_preference_count():
    J, losses = gaussian(4, 9), torch.tensor([1.0, 2.0, 3.0, 0.5])
    r = torch.tensor([1.0, 3.0, 2.0, 0.5])
    assert_close(jd.EPO(8 * r)(J, losses=losses), jd.EPO(r)(J, losses=losses))


def test_equal_losses_are_lowered_together_even_without_a_tolerance():
    for seed in range(20):
        J = gaussian(4, 9, seed)
        update = jd.EPO(eps=0.0)(J, losses=torch.full((4,), 0.7))
        assert float((J @ update).min()) > -1e-9


def test_losses_that_are_not_finite_give_no_finite_update():
    losses = torch.tensor([1.0, torch.inf])
    assert not bool(torch.isfinite(jd.EPO()(gaussian(2, 3), losses=losses)).any())


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_losses_must_be_positive(loss):
    with pytest.raises(ValueError, match=r"`losses` must be greater than 0.* Add a constant"):
        jd.EPO()(gaussian(2, 3), losses=torch.tensor([1.0, loss]))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"pref_vector": torch.tensor([1.0, 0.0])}, ValueError, "`pref_vector` must be greater"),
        ({"pref_vector": [1.0, 2.0]}, TypeError, "`pref_vector` must be a floating-point tensor"),
        ({"eps": -1.0}, ValueError, "`eps` must be finite and at least 0"),
    ],
)
def test_wrong_parameters_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        jd.EPO(**settings)


def test_the_default_device_plays_no_part():
    J, losses = gaussian(4, 9), torch.linspace(1.0, 3.0, 4)
    with torch.device("meta"):
        found = jd.EPO()(J, losses=losses)
    assert torch.equal(found, jd.EPO()(J, losses=losses))
