"""The table of peak memory."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from columns import Columns
from sides import Side
from workload import Case

_COLUMNS = Columns(
    ("model", 17),
    ("m", 3),
    ("itself", 7),
    ("plain", 7),
    ("ours", 7),
    ("peer", 7),
    ("ours/peer", 9),
    ("step: ours", 10),
    ("peer", 7),
    ("ours/peer", 9),
    ("at most", 7),
)
_MIB = 1 << 20


def show(
    cases: Sequence[Case], sides: Mapping[str, Path], step: str, threads: int, processes: int
) -> None:
    """Measure the cases, and print a row for each.

    :param cases: What to measure.
    :param sides: The interpreters, under "ours" and "peer".
    :param step: The aggregator of the whole step.
    :param threads: How many threads torch uses.
    :param processes: In how many fresh processes each figure is measured.
    """
    print(
        f"\nPeak memory in MiB: of the Jacobian (and its own size), and of a whole step with {step}"
        f"; median of {processes} fresh processes"
    )
    print(_COLUMNS.head())
    for case in cases:

        def of(side: str, what: str, step: str | None = None, case: Case = case) -> float:
            return statistics.median(
                _peak(sides[side], threads, case, what, step) for _ in range(processes)
            )

        ours, peer = of("ours", "jacobian"), of("peer", "jacobian")
        our_step, peer_step = of("ours", "jacobian", step), of("peer", "jacobian", step)
        print(
            _COLUMNS.line(
                case.kind,
                str(case.m),
                *(f"{x:.1f}" for x in (_size(case), of("ours", "plain"), ours, peer)),
                f"{ours / peer:.2f}",
                *(f"{x:.1f}" for x in (our_step, peer_step)),
                f"{our_step / peer_step:.2f}",
                "" if case.m < 8 else f"0.50 {'ok' if our_step <= 0.5 * peer_step else 'NO'}",
            ),
            flush=True,
        )


def _peak(python: Path, threads: int, case: Case, what: str, step: str | None) -> float:
    with Side(python, threads) as side:
        side.load(case)
        size: int | None = side.ask("memory", what=what, step=step)
    return float("nan") if size is None else size / _MIB


def _size(case: Case) -> float:
    """Return the size of the Jacobian, which both libraries must hold."""
    return sum(param.nbytes for param in case.build().params) * case.m / _MIB
