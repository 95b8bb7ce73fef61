"""How often to measure what may take microseconds or minutes."""

from collections.abc import Callable, Sequence
from math import ceil

# One repetition of a shorter call is many calls: clocks and pipes then play no part.
_SHORTEST = 2e-3
_FEWEST, _MOST = 3, 31

Run = Callable[[int], float | None]


def alternate(runs: Sequence[Run], budget: float) -> list[list[float]]:
    """Return the seconds of repetitions of each run, all taken in turns.

    :param runs: Each makes a number of calls and returns the seconds of one of them; or None, if it
        cannot.
    :param budget: About how many seconds all repetitions may take. Where the first calls take
        longer, they are all there is.
    :returns: As many repetitions for each run; none for one that cannot.
    """
    able: dict[int, float] = {}
    for _ in range(2):  # the first call may pay for what later ones find done
        for i, run in enumerate(runs):
            first = run(1)
            if first is not None:
                able[i] = first
        if sum(able.values()) > budget / _FEWEST:
            break
    times: list[list[float]] = [[] for _ in runs]
    calls = {i: max(1, ceil(_SHORTEST / first)) for i, first in able.items()}
    once = sum(calls[i] * first for i, first in able.items())
    if not able or once > budget:
        for i, first in able.items():
            times[i].append(first)
        return times
    for repetition in range(min(_MOST, max(_FEWEST, int(budget / once)))):
        # Who comes first changes, for neither to run always after the other.
        for i in sorted(able, reverse=bool(repetition % 2)):
            taken = runs[i](calls[i])
            assert taken is not None
            times[i].append(taken)
    return times
