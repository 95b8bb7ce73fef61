"""Ratios of times that were taken in turns."""

import statistics
from collections.abc import Sequence


def ratios(top: Sequence[float], bottom: Sequence[float]) -> list[float]:
    """Return the ratio of each repetition."""
    return [a / b for a, b in zip(top, bottom, strict=True)]


def spread(values: Sequence[float]) -> tuple[float, str]:
    """Return the median; and that and the quartiles as text."""
    if len(values) == 1:
        return values[0], f"{_short(values[0])} [one run]"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, f"{_short(middle)} [{_short(low)} {_short(high)}]"


def at_least(found: float, bound: float | None) -> str:
    """Return ``bound`` and whether it is kept; nothing without a bound."""
    return "" if bound is None else f"{_short(bound)} {'ok' if found >= bound else 'NO'}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
