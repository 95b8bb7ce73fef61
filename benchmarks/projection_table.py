"""The table of times and errors of UPGrad's weights, and that of the points of least norm."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from math import isclose, isnan

from columns import Columns
from families import Draws
from pacing import alternate
from projection_reference import Array, duality_gap, errors, mean_projection
from ratios import at_least, ratios, spread
from sides import Side
from torch import Tensor

_COLUMNS = Columns(
    ("family", 15),
    ("m", 4),
    ("ours ms", 8),
    ("peer ms", 8),
    ("peer/ours", 21),
    ("least draw", 10),
    ("at least", 8),
    ("error", 7),
    ("peer's", 7),
    ("conflict", 8),
    ("peer's", 7),
)
_GAPS = Columns(
    ("family", 15),
    ("m", 4),
    ("ours ms", 8),
    ("peer ms", 8),
    ("peer/ours", 21),
    ("gap", 7),
    ("peer's", 7),
)
# Non-negative least squares, one row after the other, takes minutes for more rows.
_REFERENCE_UP_TO = 256
_BOUNDS = {2: 2.0, 8: 2.0, 16: 1.8, 32: 1.5, 64: 3.5, 128: 13.0, 256: 25.0}

Judge = Callable[[int, list[float]], Sequence[float]]


def show_times(cases: Sequence[Draws], sides: Sequence[Side], budget: float, up_to: int) -> None:
    """Measure UPGrad's weights, and print a row for each case.

    :param cases: What to measure.
    :param sides: Ours and the peer.
    :param budget: The seconds for each Jacobian.
    :param up_to: The largest m for which the peer is asked.
    """
    print(
        "\nUPGrad's weights from a Gramian: median over the Jacobians and repetitions [quartiles]"
    )
    print(_COLUMNS.head())
    for case in cases:
        matrices = case.jacobians()
        right = [mean_projection(J) if case.m <= _REFERENCE_UP_TO else None for J in matrices]
        asked = sides if case.m <= up_to else sides[:1]
        judge = partial(_errors_of, matrices, right)
        row = _Row(case, matrices, asked, budget, "upgrad", judge, 2)
        middle, least, verdict = row.against(_bound(case))
        error, conflict, peer_error, peer_conflict = map(_text, row.faults)
        faults = (error, peer_error, conflict, peer_conflict)
        print(_COLUMNS.line(*row.head, middle, least, verdict, *faults), flush=True)


def show_gaps(cases: Sequence[Draws], sides: Sequence[Side], budget: float) -> None:
    """Measure the point of least norm, and print a row for each case."""
    print(
        "\nThe point of least norm in the convex hull of the rows, beside the peer's MGDA; the gap "
        "is over the square of the longest row"
    )
    print(_GAPS.head())
    for case in cases:
        matrices = case.jacobians()
        judge = partial(_gap_of, matrices)
        row = _Row(case, matrices, sides, budget, "min-norm", judge, 1)
        print(_GAPS.line(*row.head, row.against(None)[0], *map(_text, row.faults)), flush=True)


class _Row:
    """What was measured in one row: times, and the worst faults of the results of either side."""

    def __init__(
        self,
        case: Draws,
        matrices: Sequence[Tensor],
        sides: Sequence[Side],
        budget: float,
        method: str,
        judge: Judge,
        n_faults: int,
    ) -> None:
        self._load(case, sides)
        times: list[list[list[float]]] = []
        found: list[list[Sequence[float]]] = [[] for _ in sides]
        for draw in range(len(matrices)):
            runs = [partial(_measure, side, method, draw) for side in sides]
            times.append(alternate(runs, budget))
            for side, seconds, faults in zip(sides, times[-1], found, strict=True):
                if seconds:
                    faults.append(judge(draw, side.ask("weights", draw=draw)))
        self._draws = [pair for pair in times if len(pair) == 2 and all(pair)]
        worst = [[max(column) for column in zip(*faults, strict=True)] for faults in found]
        unknown = [float("nan")] * n_faults
        self.faults = list(chain(*(each or unknown for each in (*worst, [])[:2])))
        self.head = [case.family, str(case.m), *self._milliseconds(times, sides)]

    def against(self, bound: float | None) -> tuple[str, str, str]:
        """Return the ratio of the peer's time to ours, its least one of a Jacobian, the verdict."""
        each = [ratios(peer, ours) for ours, peer in self._draws]
        if not each:
            return "-", "-", ""
        middle, text = spread(list(chain(*each)))
        least = min(statistics.median(values) for values in each)
        return text, f"{least:.2f}", at_least(middle, bound)

    @staticmethod
    def _load(case: Draws, sides: Sequence[Side]) -> None:
        traces = [side.ask("load", **_as_seen_by(case, side)) for side in sides]
        for pair in zip(*traces, strict=True):
            if not all(isclose(trace, pair[0], rel_tol=1e-9) for trace in pair):
                raise RuntimeError(f"The two sides drew different Jacobians for {case}.")

    @staticmethod
    def _milliseconds(times: Sequence[list[list[float]]], sides: Sequence[Side]) -> list[str]:
        texts = ["", "not run"]
        for i, side in enumerate(sides):
            seconds = list(chain(*(pair[i] for pair in times)))
            texts[i] = (
                f"{statistics.median(seconds) * 1e3:.3f}" if seconds else str(side.ask("error"))[:8]
            )
        return texts


def _as_seen_by(case: Draws, side: Side) -> dict[str, object]:
    device = case.device if side.ask("about")["cuda"] else "cpu"
    return {**vars(case), "device": device}


def _measure(side: Side, method: str, draw: int, calls: int) -> float | None:
    taken: float | None = side.ask("measure", method=method, draw=draw, calls=calls)
    return taken


def _errors_of(
    matrices: Sequence[Tensor], right: Sequence[Array | None], draw: int, weights: list[float]
) -> Sequence[float]:
    return errors(matrices[draw], weights, right[draw])


def _gap_of(matrices: Sequence[Tensor], draw: int, weights: list[float]) -> Sequence[float]:
    return (duality_gap(matrices[draw], weights),)


def _text(fault: float) -> str:
    return "-" if isnan(fault) else "0" if fault == 0.0 else f"{fault:.0e}"


def _bound(case: Draws) -> float | None:
    if case.device != "cpu":
        return None
    if case.family == "gaussian":
        return _BOUNDS.get(case.m)
    if case.family in ("conflicting", "rank-deficient"):
        return 2.0 if case.m >= 128 else 1.0
    return None
