"""An exact active-set method that stands singular matrices, for several problems in step."""

import torch
from torch import Tensor

from ._face import Face, with_spare_rows
from ._independent import independent_rows

# Rows whose squared distance to the span of the others is below this many units of rounding count
# as dependent on them.
_DEPENDENT = 16.0
# Elements of the factors that are in memory at a time.
_CHUNK = 1 << 21


def solve_by_lawson_hanson(
    C: Tensor, Q: Tensor, noise: float, start: Tensor, steps: int | None = None
) -> Tensor:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    The method of Lawson and Hanson ("Solving Least Squares Problems", 1974, chapter 23) in terms of
    the Gramian: one row at a time joins the passive set, whose equations are solved exactly. A row
    that depends on the passive rows does not join them: along it the objective has no curvature, so
    it takes the place of the first passive row whose weight it brings to zero. That keeps the
    passive rows independent, and ``C`` may be singular. The problems take their steps together,
    each with a passive set of its own.

    :param C: A correlation matrix of shape ``[m, m]``.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :param start: Which weights are likely positive, of shape ``[k, m]``, dtype bool.
    :param steps: How many steps to take at most. Default: as many as it can need.
    :returns: The weights, of shape ``[k, m]``, at least 0. Where rounding makes the method turn in
        circles, or steps do not suffice, those of least violation that it met.
    """
    size = max(1, _CHUNK // C.numel())
    parts = zip(torch.split(Q, size), torch.split(start, size), strict=True)
    most = 4 * C.shape[0] + 8 if steps is None else steps
    return torch.cat([_solve(C, q, noise, s, most) for q, s in parts])


def _solve(C: Tensor, Q: Tensor, noise: float, start: Tensor, steps: int) -> Tensor:
    best, least = torch.zeros_like(Q), torch.full_like(Q[:, 0], torch.inf)
    open_ = torch.arange(Q.shape[0], device=Q.device)
    w, banned = torch.zeros_like(Q), torch.zeros_like(start)
    passive = independent_rows(C, start, _DEPENDENT * noise)
    spare = with_spare_rows(C)
    for _ in range(steps):
        face = Face(spare, passive)
        target = face.solve(-Q, refinements=1)
        arrived = ((target > 0) | ~passive).all(1, keepdim=True)
        w = torch.where(arrived, target, w)
        slopes = torch.where(passive | banned, torch.inf, torch.addmm(Q, w, C))
        violation = -slopes.amin(1, keepdim=True)
        better = arrived[:, 0] & (violation[:, 0] < least[open_])
        best[open_[better]], least[open_[better]] = w[better], violation[better, 0]
        going = ~(arrived & (violation <= noise * (1.0 + w.sum(1, keepdim=True))))[:, 0]
        if not bool(going.any()):
            break
        entered = _enter(C, face, w, passive, slopes, _DEPENDENT * noise)
        towards = _approach(w, passive, target)
        w, after = (torch.where(arrived, *pair) for pair in zip(entered, towards, strict=True))
        # A row that cannot enter waits until the passive set has changed.
        stuck = (after == passive).all(1, keepdim=True)
        banned = stuck & (banned | (slopes <= -violation))
        open_, Q, w, passive, banned = (a[going] for a in (open_, Q, w, after, banned))
    return best


def _approach(w: Tensor, passive: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Go towards ``target`` until weights reach zero; their rows leave the passive set."""
    falling = passive & ~(target > 0)
    ratio = torch.where(falling, w / (w - target), torch.inf).nan_to_num(nan=0.0, posinf=torch.inf)
    length = ratio.amin(1, keepdim=True).clamp(0.0, 1.0)
    w = torch.where(passive, w + length * (target - w), 0.0)
    leaving = falling & ((ratio <= length) | ~(w > 0))
    return torch.where(leaving, 0.0, w).clamp_min(0.0), passive & ~leaving


def _enter(
    C: Tensor, face: Face, w: Tensor, passive: Tensor, slopes: Tensor, pivot: float
) -> tuple[Tensor, Tensor]:
    """Raise the weight of steepest descent as far as it helps or another stays positive."""
    slope, entering = slopes.min(1, keepdim=True)
    across = C[entering[:, 0]]
    along = face.solve(across, refinements=1)
    curvature = C.diagonal()[entering] - (torch.where(passive, across, 0.0) * along).sum(1, True)
    step = torch.where(curvature > pivot, -slope / curvature, torch.inf)
    limits = torch.where(along > 0, w / along, torch.inf)
    limit, leaving = limits.min(1, keepdim=True)
    length = torch.minimum(step, limit)
    usable = torch.isfinite(length) & (slope < 0)
    length = torch.where(usable, length, 0.0)
    moved = (w - length * along).clamp_min(0.0).scatter_add(1, entering, length)
    joined = passive.scatter(1, entering, usable)
    full = usable & (limit <= step)
    joined = joined.scatter(1, leaving, joined.gather(1, leaving) & ~full)
    return torch.where(joined, moved, 0.0), joined
