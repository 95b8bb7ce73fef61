"""The shortest vector that satisfies inequalities, and whether there is one."""

import cvxpy
import numpy as np
import torch

from jd_aggregators._least_distance import least_distance
from torchjd.testing.matrices import gaussian


def test_the_least_distance_satisfies_what_defines_it():
    feasible = 0
    for seed in range(200):
        k, n = 2 + seed % 6, 2 + seed % 4
        rows = gaussian(k, n, seed)
        rows /= rows.norm(dim=1, keepdim=True)
        h = gaussian(1, k, seed + 1000)[0]
        C = rows @ rows.T
        for module, arrays in ((torch, (C, h)), (np, (C.numpy(), h.numpy()))):
            with np.errstate(all="ignore"):  # as the method does
                weights, found = least_distance(module, *arrays, 1e-15)
            problem = cvxpy.Problem(cvxpy.Minimize(0), [rows.numpy() @ cvxpy.Variable(n) >= h])
            problem.solve(solver=cvxpy.CLARABEL)
            assert bool(found) == (problem.status == "optimal")
            if not found:
                continue
            feasible += 1
            v = torch.as_tensor(weights)
            slack = C @ v - h
            assert float(v.min()) >= 0
            assert float(slack.min()) > -1e-8 * float(1 + v.max())
            assert float((v * slack).abs().max()) < 1e-8 * float(1 + v.max()) ** 2
    assert 100 < feasible < 400
