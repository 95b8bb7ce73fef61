"""Judges projectors: by the conflicts that they leave, and by their distance to a reference."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from torchjd.aggregation import UPGrad
from torchjd.linalg import DualConeProjector

CERTIFIED = 1e-10
"""The error, relative to the longest row, up to which a reference is one."""


class Figures(NamedTuple):
    r"""The worst of each kind; 0 is perfect, and infinity stands for what is not finite.

    Violations by a direction :math:`d` are :math:`-g_j \cdot d / (\|g_j\| \max_k \|g_k\|)`.

    :ivar violation: By the projections of the rows.
    :ivar sum_violation: By the sum of the projections: UPGrad times the number of rows.
    :ivar error: The distance of a projection to its reference, relative to the longest row.
    :ivar row_error: The same, relative to the row that is projected.
    :ivar violation32: By the projections of the rows, from a float32 Gramian; over the size of the
        weights, in tens, for they amplify the rounding that a float32 Gramian brings along.
    :ivar upgrad_violation32: By UPGrad of a float32 Jacobian.
    :ivar sum_violation32: The same, times the number of rows.
    """

    violation: float = 0.0
    sum_violation: float = 0.0
    error: float = 0.0
    row_error: float = 0.0
    violation32: float = 0.0
    upgrad_violation32: float = 0.0
    sum_violation32: float = 0.0


# What is only reported has no limit.
LIMITS = Figures(1e-9, 1e-9, 1e-8, torch.inf, 1e-5, 1e-5, torch.inf)


@dataclass(frozen=True)
class Verdict:
    """What was measured, and what of it is not as good as promised."""

    figures: Figures
    failures: tuple[str, ...]


def judge(projector: DualConeProjector, matrix: Tensor, reference: Tensor) -> Verdict:
    """Judge a projector by one Jacobian, in float64 and in float32.

    :param projector: What to judge. Exceptions that it raises are failures.
    :param matrix: The Jacobian, float64.
    :param reference: The projections of its rows.
    """
    failures = []
    figures = dict.fromkeys(Figures._fields, 0.0)
    for measure in (_measure_float64, _measure_float32):
        try:
            figures |= measure(projector, matrix, reference)
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
    found = Figures(**figures)
    failures += [
        f"{name} {value:.2g}, at most {limit:.2g} allowed"
        for name, value, limit in zip(Figures._fields, found, LIMITS, strict=True)
        if value > limit
    ]
    return Verdict(found, tuple(failures))


def _measure_float64(
    projector: DualConeProjector, matrix: Tensor, reference: Tensor
) -> dict[str, float]:
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    projections = projector(identity, matrix @ matrix.T) @ matrix
    total = len(matrix) * UPGrad(projector=projector)(matrix)
    lengths, longest = _lengths(matrix)
    errors = (projections - reference).norm(dim=1)
    return {
        "violation": violation(matrix, projections),
        "sum_violation": violation(matrix, total[None]),
        "error": _worst(errors / longest),
        "row_error": _worst(errors / lengths),
    }


def _measure_float32(
    projector: DualConeProjector, matrix: Tensor, reference: Tensor
) -> dict[str, float]:
    narrow = matrix.to(torch.float32)
    weights = projector(torch.eye(len(narrow)), narrow @ narrow.T)
    update = UPGrad(projector=projector)(narrow).to(torch.float64)[None]
    rows = narrow.to(torch.float64)
    return {
        "violation32": violation(rows, _per_ten(weights.to(torch.float64), rows) @ rows),
        "upgrad_violation32": violation(rows, update),
        "sum_violation32": violation(rows, len(rows) * update),
    }


def _per_ten(weights: Tensor, rows: Tensor) -> Tensor:
    """Return the weights, over a tenth of the 1-norm of their terms where that is more than 1."""
    lengths = rows.norm(dim=1)
    longest = lengths.max()
    sizes = (weights * lengths / torch.where(longest > 0, longest, 1.0)).sum(dim=1, keepdim=True)
    return weights / (sizes / 10.0).clamp_min(1.0)


def violation(matrix: Tensor, directions: Tensor) -> float:
    """Return by how much a row conflicts with a direction, relative to it and the longest row."""
    lengths, longest = _lengths(matrix)
    return _worst(-(directions @ matrix.T) / (lengths * longest))


def _lengths(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lengths of the rows, 1 for rows of zeros, and that of the longest row."""
    lengths = matrix.norm(dim=1)
    longest = lengths.max()
    return torch.where(lengths > 0, lengths, 1.0), torch.where(longest > 0, longest, 1.0)


def _worst(values: Tensor) -> float:
    if not torch.isfinite(values).all():
        return torch.inf
    return max(float(values.max()), 0.0)
