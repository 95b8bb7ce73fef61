"""The problems of one matrix together: guess the active sets, then exchange rows in blocks."""

import torch
from torch import Tensor

from ._faces import Faces

SINGULAR = 64.0
"""A pivot of so many units of rounding may be rounding alone."""

SLOW = 0.6
"""The part of the wrong rows that an exchange leaves where sets turn in circles, for C is
ill-conditioned: elsewhere it leaves a tenth to a third, but for the first one now and then."""

SMALLEST_PIVOT = 1e-6
"""Below it, sets often turn in circles whatever is done."""

# From such a pivot on, the guess is better than the sets of a step ago.
_WELL_CONDITIONED = 0.1
_POWERS = 6
_GUESSES = 16
_EXCHANGES = 12
# With a ridge, the sets do not turn in circles; made smaller and smaller, it leads to sets that are
# nearly right. That takes some 15 exchanges, which pay from so many rows on.
_MANY = 96
_RIDGES = (1e-2, 1e-4, 1e-6, 1e-8, 0.0)


def solve_by_pivoting(C: Tensor, Q: Tensor, noise: float, start: Tensor | None) -> Tensor | None:
    r"""Return the solutions of :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w`.

    Block principal pivoting (Júdice and Pires, "A block principal pivoting algorithm for
    large-scale strictly monotone linear complementarity problems", Computers & Operations Research,
    1994): solve on the set of rows that are guessed to have weight, exchange all rows of the wrong
    sign at once, and repeat. The first guess comes from accelerated projected gradients, which
    cost a product of matrices each and spare two to three of the far dearer exchanges.

    :param C: A correlation matrix of shape ``[m, m]``.
    :param Q: One problem a row, of shape ``[k, m]``.
    :param noise: The rounding that entries of ``C`` carry.
    :param start: Which weights are likely positive, of shape ``[k, m]``, dtype bool.
    :returns: The weights, of shape ``[k, m]``, NaN in the rows that were not solved; or None where
        ``C`` is singular up to rounding.
    """
    factor, info = torch.linalg.cholesky_ex(C)
    pivot = float(factor.diagonal().min()) ** 2
    if int(info) or pivot <= SINGULAR * noise:
        return None
    sets = _guess(C, Q) if start is None or pivot > _WELL_CONDITIONED else start
    W, sets = _exchange(Faces(C, factor), C, Q, sets, noise)
    stuck = W[:, 0].isnan().nonzero().flatten()
    if len(C) >= _MANY and pivot > SMALLEST_PIVOT and 4 * len(stuck) > len(Q):
        q, sets = Q[stuck], sets[stuck]
        for ridge in _RIDGES:
            matrix = C + ridge * torch.eye(len(C), dtype=C.dtype, device=C.device)
            faces = Faces(matrix, torch.linalg.cholesky_ex(matrix)[0])
            W[stuck], sets = _exchange(faces, matrix, q, sets, noise)
    return W


def _exchange(
    faces: Faces, C: Tensor, Q: Tensor, sets: Tensor, noise: float
) -> tuple[Tensor, Tensor]:
    """Return the solutions, NaN in the rows that are stuck, and the sets at the end."""
    W, sets = torch.full_like(Q, torch.nan), sets.clone()
    rows = torch.arange(Q.shape[0], device=Q.device)
    last, slow = Q.numel(), 0
    for _ in range(_EXCHANGES):
        q, guess = Q[rows], sets[rows]
        w = faces.solve(guess, -q)
        z = torch.addmm(q, w, C)
        allowed = noise * (1.0 + w.abs().sum(1, keepdim=True))
        if bool((torch.where(guess, z, 0.0).abs() > allowed).any()):
            # On the complementary side the error is that of the inverse, before refinement.
            w = w - faces.solve(guess, z)
            z = torch.addmm(q, w, C)
        wrong = torch.where(guess, w < 0, z < -allowed) | ~torch.isfinite(w)
        going = wrong.any(1)
        W[rows[~going]] = w[~going]
        count = int(wrong.sum())
        slow = slow + 1 if count > SLOW * last else 0
        if count == 0 or slow == 2:
            break
        sets[rows] = guess ^ wrong
        rows, last = rows[going], count
    return W, sets


def _guess(C: Tensor, Q: Tensor) -> Tensor:
    """Return which weights are positive after some steps of accelerated projected gradients."""
    direction = torch.ones_like(C[0])
    for _ in range(_POWERS):
        direction = C @ direction
        direction = direction / direction.norm()
    step = 0.9 / float(direction @ C @ direction)
    w = torch.zeros_like(Q)
    ahead, pace = w, 1.0
    for _ in range(_GUESSES):
        moved = torch.addmm(ahead - step * Q, ahead, C, alpha=-step).clamp_min_(0.0)
        faster = (1.0 + (1.0 + 4.0 * pace * pace) ** 0.5) / 2.0
        ahead = torch.lerp(w, moved, 1.0 + (pace - 1.0) / faster)
        w, pace = moved, faster
    return w > 0
