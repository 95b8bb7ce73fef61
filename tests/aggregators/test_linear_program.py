"""The simplex method, against scipy's solver."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from jd_aggregators._linear_program import maximize
from torchjd.testing.matrices import gaussian, of_rank, opposite

FAMILIES = {
    "gaussian": gaussian,
    "rank 1": lambda m, n, seed: of_rank(m, n, 1, seed),
    "opposite": lambda m, n, seed: opposite(m, n, 0.0, seed),
}


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("is_degenerate", [True, False])
def test_the_solution_is_as_good_as_that_of_scipy(make, is_degenerate):
    for seed in range(100):
        m, n = 2 + seed % 15, 2 + seed % 9
        rows = make(m, n, seed)
        rows /= rows.norm(dim=1, keepdim=True)
        A, draws = rows @ rows.T, gaussian(3, m, seed + 1000)
        c, w = draws[0], draws[2].exp()
        b = torch.zeros_like(c) if is_degenerate else draws[1].clamp_max(0.0)
        x = maximize(c, A, b, w)
        inequalities = {"A_ub": -A.numpy(), "b_ub": -b.numpy()}
        found = linprog(-c.numpy(), **inequalities, A_eq=w.numpy()[None], b_eq=[1.0])
        assert found.status == 0
        assert float(x.min()) >= 0
        assert abs(float(w @ x) - 1) < 1e-10
        assert float((A @ x - b).min()) > -1e-9
        assert abs(float(c @ x) + found.fun) < 1e-7


def test_where_nothing_is_allowed_there_is_no_solution():
    one = torch.ones(2, dtype=torch.float64)
    assert maximize(one, -torch.eye(2, dtype=torch.float64), 0 * one, one) is None


def test_steps_that_gain_nothing_do_not_go_in_circles():
    """Beale's program, on which the steepest steps return to where they began."""
    c = torch.tensor([0.75, -150.0, 0.02, -6.0], dtype=torch.float64)
    A = torch.tensor([[-0.25, 60.0, 0.04, -9.0], [-0.5, 90.0, 0.02, -3.0], [0.0, 0.0, -1.0, 0.0]])
    A, b = A.double(), torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    A = torch.cat([A, torch.zeros(3, 1)], 1)
    x = maximize(torch.cat([c, c.new_zeros(1)]), A, b, torch.ones(5, dtype=torch.float64))
    with np.errstate(all="ignore"):
        found = linprog(
            -np.append(c.numpy(), 0.0),
            A_ub=-A.numpy(),
            b_ub=-b.numpy(),
            A_eq=np.ones((1, 5)),
            b_eq=[1.0],
        )
    assert abs(float(c @ x[:4]) + found.fun) < 1e-12
