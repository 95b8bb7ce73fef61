"""Euclidean projection onto the probability simplex."""

from math import isfinite, nan

import torch
from torch import Tensor

from ._on_host import on_host

# Up to how many entries Python's own numbers are faster than a dozen calls of torch.
_FEW = 64


def project_on_simplex(v: Tensor) -> Tensor:
    r"""Return the point of the simplex that is nearest to ``v``.

    .. math:: \max(v - \theta, 0), \qquad
        \theta = \max_k \; \frac1k \Big( \sum_{i \le k} u_i - 1 \Big),

    with u the entries of v in decreasing order. The running means rise as long as the next entry
    exceeds them and fall from there on, so that their maximum is at the last entry that stays
    positive, which is the index that the sources search. Sources: Held, Wolfe and Crowder,
    "Validation of subgradient optimization", Mathematical Programming, 1974; Duchi et al.,
    "Efficient projections onto the l1-ball for learning in high dimensions", ICML 2008, figure 1.

    :param v: A vector of shape ``[m]``; NaN in an entry, or infinity, makes every entry NaN.

    >>> import torch
    >>> from jd_aggregators._simplex import project_on_simplex
    >>> project_on_simplex(torch.tensor([0.5, 1.0, -3.0]))
    tensor([0.2500, 0.7500, 0.0000])
    """
    if v.shape[0] <= _FEW and on_host(v):
        return torch.tensor(_project(v.tolist()), dtype=v.dtype, device=v.device)
    return project_on_device(v)


def project_on_device(v: Tensor) -> Tensor:
    """Do as :func:`project_on_simplex`, reading nothing on the host."""
    ordered = v.sort(descending=True).values
    # The projection is blind to a shift. With a largest entry of 0, what stays positive is above
    # -1, so that nothing is lost to rounding however large the entries are.
    top = ordered[0]
    counts = torch.arange(1, v.shape[0] + 1, dtype=v.dtype, device=v.device)
    sums = (ordered - top).cumsum(0)
    theta = ((sums - 1.0) / counts).amax()
    # Of -inf times 0 comes NaN: an infinite entry may not pass for one that is just far down.
    return (v - top - (theta + 0.0 * sums[-1])).clamp_min(0.0)


def _project(entries: list[float]) -> list[float]:
    """Do as :func:`project_on_device`, in Python's numbers."""
    total = sum(entries)
    if not isfinite(total):
        return [nan] * len(entries)
    theta = (total - 1.0) / len(entries)
    if abs(theta) <= 1.0 and min(entries) >= theta:  # all stay positive, and there is no sorting
        return [entry - theta for entry in entries]
    ordered = sorted(entries, reverse=True)
    top, total, theta = ordered[0], 0.0, -1.0
    for count, entry in enumerate(ordered, 1):
        total += entry - top
        mean = (total - 1.0) / count
        if mean < theta:
            break
        theta = mean
    return [rest if (rest := entry - top - theta) > 0.0 else 0.0 for entry in entries]
