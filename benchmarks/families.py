"""The Jacobians whose Gramians are projected with; the same in every process."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def _gaussian(m: int, n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(m, n, generator=generator, dtype=torch.float64)


def _conflicting(m: int, generator: torch.Generator) -> Tensor:
    rows = _gaussian(m, 4 * m, generator)
    return rows - 0.999 * rows.mean(dim=0)


def _ill_conditioned(m: int, generator: torch.Generator) -> Tensor:
    left, _ = torch.linalg.qr(_gaussian(m, m, generator))
    right, _ = torch.linalg.qr(_gaussian(4 * m, m, generator))
    return left * torch.logspace(0, -5, m, dtype=torch.float64) @ right.T


def _opposite(m: int, generator: torch.Generator) -> Tensor:
    base = _gaussian(1, 4 * m, generator)
    signs = (-1.0) ** torch.arange(m, dtype=torch.float64)[:, None]
    return signs * base + 1e-3 * _gaussian(m, 4 * m, generator)


def _scaled(m: int, generator: torch.Generator) -> Tensor:
    scales = torch.logspace(-4, 4, m, dtype=torch.float64)
    return scales[:, None] * _gaussian(m, 4 * m, generator)


def _repeated(m: int, generator: torch.Generator) -> Tensor:
    rows = _gaussian(m, 4 * m, generator)
    quarter = max(1, m // 4)
    rows[quarter : 2 * quarter] = rows[:quarter].clone()
    rows[m - quarter :] = 0.0
    return rows


@dataclass(frozen=True)
class Family:
    """How to draw Jacobians of one structure.

    :ivar text: What they are, for people.
    :ivar draw: Returns one of ``m`` rows, in float64.
    """

    text: str
    draw: Callable[[int, torch.Generator], Tensor]


FAMILIES = {
    "gaussian": Family("Gaussian, n = 4m", lambda m, g: _gaussian(m, 4 * m, g)),
    "conflicting": Family("Gaussian, n = 4m, less 0.999 of the mean of the rows", _conflicting),
    "rank-deficient": Family("Gaussian, n = m/2", lambda m, g: _gaussian(m, max(1, m // 2), g)),
    "square": Family("Gaussian, n = m", lambda m, g: _gaussian(m, m, g)),
    "ill-conditioned": Family("singular values from 1 to 1e-5, n = 4m", _ill_conditioned),
    "opposite": Family("plus or minus one vector, noise 1e-3, n = 4m", _opposite),
    "scaled": Family("Gaussian, n = 4m, times 1e-4 to 1e4", _scaled),
    "repeated": Family("Gaussian, n = 4m, a quarter twice and a quarter zero", _repeated),
}
MAIN = ("gaussian", "conflicting", "rank-deficient")


def jacobian(family: str, m: int, seed: int) -> Tensor:
    """Return a Jacobian of ``m`` rows, whose values do not depend on the process."""
    return FAMILIES[family].draw(m, torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Draws:
    """What is measured in one row of a table.

    :ivar family: A key of :data:`FAMILIES`.
    :ivar m: How many rows.
    :ivar draws: How many Jacobians, of the seeds 0, 1 and so on.
    :ivar dtype: Of the Gramians, which are rounded from float64.
    :ivar device: Where the Gramians are.
    :ivar projector: A name from ``torchjd.linalg``, for ours; None for the default.
    """

    family: str
    m: int
    draws: int
    dtype: str
    device: str
    projector: str | None

    def jacobians(self) -> list[Tensor]:
        """Return the Jacobians, in float64 on the CPU."""
        return [jacobian(self.family, self.m, seed) for seed in range(self.draws)]

    def gramian(self, matrix: Tensor) -> Tensor:
        """Return the Gramian as the weighting gets it."""
        return (matrix @ matrix.T).to(self.device, getattr(torch, self.dtype))
