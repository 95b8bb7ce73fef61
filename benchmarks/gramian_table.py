"""The tables of time and of peak memory of whole steps with given weights."""

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from columns import Columns
from gramian_cases import KINDS
from gramian_turns import at_most, in_turns, milliseconds, ratio
from sides import Side

_OURS = ("auto", "stream")
_TIMES = Columns(
    ("model", 11),
    ("plain ms", 8),
    ("default/plain", 19),
    ("at most", 7),
    ("stream/plain", 19),
    ("peer/plain", 19),
    ("peer/default", 12),
    ("error", 6),
    ("peer's", 6),
)
_MEMORY = Columns(
    ("model", 11),
    ("plain MiB", 9),
    ("default/plain", 13),
    ("at most", 7),
    ("stream/plain", 12),
    ("at most", 7),
    ("peer/plain", 10),
)
_MIB = 1 << 20


def show_times(
    kinds: Sequence[str],
    sides: Sequence[Side],
    device: str,
    warmups: int,
    repetitions: int,
    budget: float,
) -> None:
    """Measure the models, and print a row for each.

    :param kinds: Keys of :data:`KINDS`.
    :param sides: Ours; and the peer, if it is to be asked.
    :param device: Where the models are.
    :param warmups: How many repetitions to discard.
    :param repetitions: How many to keep.
    :param budget: The seconds after which the peer begins no further repetition.
    """
    print(
        f"\nTime of a step over that of a plain one in the same process: median of {repetitions} "
        "alternating repetitions [quartiles]"
    )
    print(_TIMES.head())
    for kind in kinds:
        for side in sides:
            side.ask("load", kind=kind, device=device)
        here = sides[0]
        errors = [_error(here, _OURS)]
        plain, default, stream = _measure(here, _OURS, warmups, repetitions)
        middle, text = ratio(default, plain)
        cells = [milliseconds(plain), text, _bound(middle, KINDS[kind].bounds.time, device)]
        cells.append(ratio(stream, plain)[1])
        if len(sides) == 2:
            errors.append(_error(sides[1], ["peer"]))
            there = _measure(sides[1], ["peer"], warmups, repetitions, budget)
            against, text = ratio(there[1], there[0])
            both = middle is not None and against is not None
            cells += [text, f"{against / middle:.2f}" if both and against and middle else ""]
        else:
            errors.append(None)
            cells += ["not run", ""]
        faults = ["-" if error is None else f"{error:.0e}" for error in errors]
        print(_TIMES.line(kind, *cells, *faults), flush=True)
        _explain(sides)


def show_memory(
    kinds: Sequence[str], pythons: Mapping[str, Path], device: str, threads: int, processes: int
) -> None:
    """Measure the models, and print a row for each.

    :param kinds: Keys of :data:`KINDS`.
    :param pythons: The interpreters, under "ours" and, if it is to be asked, "peer".
    :param device: Where the models are.
    :param threads: How many threads torch uses.
    :param processes: In how many fresh processes each figure is measured.
    """
    print(
        f"\nPeak memory of a process' second step over that of a plain one: median of {processes} "
        "fresh processes each"
    )
    print(_MEMORY.head())
    for kind in kinds:
        peak = partial(_peak, kind=kind, device=device, threads=threads, processes=processes)
        plain, default, stream = (peak(pythons["ours"], m) for m in ("plain", *_OURS))
        bounds = KINDS[kind].bounds
        cells = ["-" if plain is None else f"{plain / _MIB:.1f}"]
        for found, bound in ((default, bounds.memory), (stream, bounds.stream_memory)):
            over, text = _over(found, plain)
            cells += [text, _bound(over, bound, device)]
        if "peer" in pythons:
            there = pythons["peer"]
            cells.append(_over(peak(there, "peer"), peak(there, "plain"))[1])
        else:
            cells.append("not run")
        print(_MEMORY.line(kind, *cells), flush=True)


def _measure(
    side: Side,
    methods: Sequence[str],
    warmups: int,
    repetitions: int,
    budget: float = float("inf"),
) -> list[list[float]]:
    def run(method: str) -> float | None:
        taken: float | None = side.ask("measure", method=method)
        return taken

    runs = [partial(run, method) for method in ("plain", *methods)]
    return in_turns(runs, warmups, repetitions, budget)


def _error(side: Side, methods: Sequence[str]) -> float | None:
    errors: list[float | None] = [side.ask("error", method=method) for method in methods]
    return max((error for error in errors if error is not None), default=None)


def _peak(
    python: Path, method: str, kind: str, device: str, threads: int, processes: int
) -> float | None:
    peaks: list[int] = []
    for _ in range(processes):
        with Side(python, threads, "gramian_worker.py") as side:
            side.ask("load", kind=kind, device=device)
            found: int | None = side.ask("memory", method=method)
        if found is None:
            return None
        peaks.append(found)
    return statistics.median(peaks)


def _over(found: float | None, plain: float | None) -> tuple[float | None, str]:
    if found is None or not plain:
        return None, "refuses"
    return found / plain, f"{found / plain:.2f}"


def _bound(found: float | None, bound: float | None, device: str) -> str:
    return at_most(found, bound) if device == "cpu" else ""


def _explain(sides: Sequence[Side]) -> None:
    for name, side in zip(("default or stream", "the peer"), sides, strict=False):
        reason = side.ask("why")
        if reason:
            print(f"{'':13}{name} refuses: {reason}", flush=True)
