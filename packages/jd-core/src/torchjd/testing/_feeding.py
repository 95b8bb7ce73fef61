"""Calls of methods with all that they need beside the Jacobian."""

import copy
from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Weighting


def losses_of(matrix: Tensor) -> Tensor:
    """Return values of the objectives, positive and different, whatever the rows are."""
    return torch.linspace(0.5, 2.0, matrix.shape[0], dtype=torch.float64)


def cross_gramian_of(matrix: Tensor) -> Tensor:
    """Return the Gramian across the rows and slightly different ones, as of another batch."""
    first = matrix.detach().to(torch.float64)
    second = first + 0.25 * first.roll(1, 1)
    return first @ second.T


def call(aggregator: Aggregator, matrix: Tensor, losses: Tensor | None = None) -> Tensor:
    """Call ``aggregator``; its state goes on.

    :param losses: By default, those of :func:`losses_of`.
    """
    losses = losses_of(matrix) if losses is None else losses
    cross_gramian = cross_gramian_of(matrix) if aggregator.needs == "cross gramian" else None
    return aggregator(matrix, losses=losses, cross_gramian=cross_gramian)


def call_copy(aggregator: Aggregator, matrix: Tensor, losses: Tensor | None = None) -> Tensor:
    """Call a copy of ``aggregator``: what it remembers, or draws, is the same each time."""
    return call(copy.deepcopy(aggregator), matrix, losses)


def stat_of(weighting: Weighting[Any], matrix: Tensor) -> Tensor:
    """Return what ``weighting`` weighs of a Jacobian."""
    if weighting.needs == "cross gramian":
        return cross_gramian_of(matrix)
    return matrix @ matrix.T if weighting.needs == "gramian" else matrix
