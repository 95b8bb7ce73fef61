"""Repetitions that are taken in turns, and the verdicts on their ratios."""

import statistics
from collections.abc import Callable, Sequence
from math import inf

from ratios import ratios, spread

Run = Callable[[], float | None]


def in_turns(
    runs: Sequence[Run], warmups: int, repetitions: int, budget: float = inf
) -> list[list[float]]:
    """Return the seconds of repetitions of each run.

    :param runs: Each returns the seconds of one repetition; or None, if it cannot.
    :param warmups: How many rounds to discard.
    :param repetitions: How many rounds to keep.
    :param budget: The seconds after which no further round begins; one round is always kept.
    :returns: None of a run that cannot; as many as there were rounds of each other.
    """
    times: list[list[float]] = [[] for _ in runs]
    able = list(range(len(runs)))
    spent, kept = 0.0, 0
    for round_ in range(warmups + repetitions):
        if kept and spent > budget:
            break
        # A round that is dear is worth more than a warm-up.
        keep = round_ >= warmups or spent > budget
        # Who comes first changes, for neither to run always after the other.
        for i in list(reversed(able) if round_ % 2 else able):
            taken = runs[i]()
            if taken is None:
                able.remove(i)
                times[i].clear()
                continue
            spent += taken
            if keep:
                times[i].append(taken)
        kept += keep
    return times


def ratio(top: Sequence[float], bottom: Sequence[float]) -> tuple[float | None, str]:
    """Return the median of the ratios of each repetition, and that and the quartiles as text."""
    return spread(ratios(top, bottom)) if top else (None, "refuses")


def at_most(found: float | None, bound: float | None) -> str:
    """Return ``bound`` and whether it is kept; nothing without a bound."""
    if bound is None:
        return ""
    return f"{bound:.2f} {'ok' if found is not None and found <= bound else 'NO'}"


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the median; a dash where there is none."""
    return f"{statistics.median(seconds) * 1e3:.1f}" if seconds else "-"
