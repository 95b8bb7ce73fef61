"""What methods that remember are fed with, step by step, and what they are judged by."""

import copy

import torch

from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian

STEPS = 20


def jacobians(m=4, n=6):
    """Return a Jacobian a step, each a small change of the last, in float64."""
    first = gaussian(m, n)
    return [first + 0.5 * gaussian(m, n, seed) for seed in range(1, STEPS + 1)]


def cross_gramians(m=4, n=6):
    """Return the Gramian across two batches, a step each."""
    noise = [gaussian(m, n, seed) for seed in range(100, 100 + STEPS)]
    return [J @ (J + 0.3 * z).T for J, z in zip(jacobians(m, n), noise, strict=True)]


def losses(m=4):
    """Return the losses of each step: positive, falling at different rates."""
    rates = torch.linspace(0.02, 0.2, m, dtype=torch.float64)
    sizes = torch.logspace(-2, 2, m, dtype=torch.float64)
    return [sizes * torch.exp(-rates * k) for k in range(STEPS)]


def nearest_on_simplex(v):
    """Return the projection of a list of numbers, by bisection of what is taken off."""
    low, high = min(v) - 1.0, max(v)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(max(x - middle, 0.0) for x in v) > 1.0:
            low = middle
        else:
            high = middle
    return [max(x - high, 0.0) for x in v]


def assert_compiled_agrees(method, stat, **extra):
    """Assert that a method gives the same traced whole, over several calls of growing memory."""
    torch.compiler.reset()
    own = copy.deepcopy(method)
    compiled = torch.compile(copy.deepcopy(method).forward, fullgraph=True, backend="eager")
    for k in range(1, 4):
        expected = own.forward(k * stat, **extra)
        assert_close(
            compiled(k * stat, **extra), expected, scale=max(1.0, float(expected.abs().max()))
        )
