"""Gradient surgery on a few rows, in plain arithmetic.

The same as on tensors, a row at a time: there, a few numbers cost as much as many. Python's floats
are float64.
"""

from collections.abc import Sequence
from itertools import chain
from math import isfinite, sqrt

FEW = 12
"""Up to how many rows this is faster than on tensors."""

Rows = Sequence[Sequence[float]]


def all_finite(rows: Rows) -> bool:
    """Return whether no number is infinite or NaN."""
    return all(map(isfinite, chain.from_iterable(rows)))


def project_rows(G: Rows, orders: Sequence[Sequence[int]]) -> list[float]:
    """Return the weights of PCGrad.

    :param G: A Gramian of m rows, finite.
    :param orders: For each row, in which order it meets the others.
    """
    weights = [1.0] * len(G)
    for row, order in zip(G, orders, strict=True):
        products = row
        for j in order:
            if products[j] < 0.0:
                part = -products[j] / (G[j][j] or 1.0)
                weights[j] += part
                products = [x + part * y for x, y in zip(products, G[j], strict=True)]
    return weights


def turn_rows(
    G: Rows,
    orders: Sequence[Sequence[int]],
    targets: Rows,
    beta: float,
    least: float,
    noise: float,
) -> tuple[list[float], list[list[float]]]:
    """Return the weights of GradVac, and the targets for the next call.

    :param G: A Gramian of m rows, finite.
    :param orders: For each row, in which order it meets the others.
    :param targets: The targets of the cosines, by row and partner.
    :param beta: How much a cosine counts in the next target.
    :param least: The least squared sine of a target that is divided by.
    :param noise: The part of a squared length that is rounding.
    """
    most = sqrt(max(1.0 - least, 0.0))  # of the cosines that are told from 1 and -1
    lengths = [sqrt(max(row[i], 0.0)) for i, row in enumerate(G)]
    inverses = [1.0 / length if length > 0.0 else 0.0 for length in lengths]
    C = [
        [x * s * r for x, s in zip(row, inverses, strict=True)]
        for row, r in zip(G, inverses, strict=True)
    ]
    weights, met = [1.0] * len(G), [list(row) for row in targets]
    for i, order in enumerate(orders):
        products, square, reach = C[i], C[i][i], 1.0
        for j in order:
            if lengths[j] <= 0.0:
                continue
            product, target = products[j], targets[i][j]
            length = sqrt(square) if square > noise * reach * reach else 0.0
            if length > 0.0:
                cosine = min(max(product / length, -1.0), 1.0)
                met[i][j] += beta * (cosine - target)
            aim = min(target, most) if target >= -most else -2.0
            if product < aim * length:
                across = sqrt(max(length * length - product * product, 0.0))
                part = target / sqrt(max(1.0 - target * target, least)) * across - product
                weights[j] += part * lengths[i] * inverses[j]
                products = [x + part * y for x, y in zip(products, C[j], strict=True)]
                square += part * (2.0 * product + part)
                reach += abs(part)
    return weights, met
