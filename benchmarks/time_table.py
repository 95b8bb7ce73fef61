"""The table of times, and of the errors beside them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from columns import Columns
from ratios import ratios, spread
from sides import Side
from workload import Case

_COLUMNS = Columns(
    ("model", 17),
    ("m", 3),
    ("plain ms", 8),
    ("ours ms", 8),
    ("peer ms", 8),
    ("ours/plain", 19),
    ("ours/peer", 16),
    ("at most", 7),
    ("plain/plain", 16),
    ("error", 6),
    ("peer's", 6),
)


@dataclass(frozen=True)
class Times:
    """Seconds of each repetition: of a plain backward in either process, and of both libraries."""

    plain: list[float] = field(default_factory=list)
    plain_there: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)


def show(
    cases: Sequence[Case],
    here: Side,
    there: Side,
    step: str | None,
    warmups: int,
    repetitions: int,
) -> None:
    """Measure the cases, and print a row for each.

    :param cases: What to measure.
    :param here: Our side.
    :param there: The peer's.
    :param step: The aggregator of a whole step; None for the Jacobian alone.
    :param warmups: How many repetitions to discard.
    :param repetitions: How many to keep.
    """
    what = f"of a whole step with {step}" if step else "of the Jacobian, the forward pass left out"
    print(f"\nTime {what}: median of {repetitions} alternating repetitions [quartiles]")
    print(_COLUMNS.head())
    for case in cases:
        times = alternate(here, there, case, step, warmups, repetitions)
        against, against_text = _ratio(times.ours, times.peer)
        print(
            _COLUMNS.line(
                case.kind,
                str(case.m),
                *(
                    f"{statistics.median(t) * 1e3:.2f}"
                    for t in (times.plain, times.ours, times.peer)
                ),
                _ratio(times.ours, times.plain)[1],
                against_text,
                _verdict(against, 1.0 if case.m < 8 else 0.85),
                _ratio(times.plain, times.plain_there)[1],
                *(f"{side.ask('error'):.0e}" for side in (here, there)),
            ),
            flush=True,
        )


def alternate(
    here: Side, there: Side, case: Case, step: str | None, warmups: int, repetitions: int
) -> Times:
    """Return the times of repetitions that the two sides run in alternation."""
    times = Times()
    runs = [
        (here, "plain", times.plain),
        (there, "plain", times.plain_there),
        (here, "jacobian", times.ours),
        (there, "jacobian", times.peer),
    ]
    for side in (here, there):
        side.load(case)
    for repetition in range(warmups + repetitions):
        # Who comes first changes, for neither to run always after the other.
        for side, what, seconds in runs if repetition % 2 else reversed(runs):
            taken = side.ask("measure", what=what, step=step)
            if repetition >= warmups:
                seconds.append(taken)
    return times


def _ratio(top: Sequence[float], bottom: Sequence[float]) -> tuple[float, str]:
    """Return the median of the ratios of each repetition; and that and the quartiles as text."""
    return spread(ratios(top, bottom))


def _verdict(found: float, bound: float) -> str:
    return f"{bound:.2f} {'ok' if found <= bound else 'NO'}"
