"""The tables of whole batches and of warm starts, which the peer has nothing beside."""

import statistics
from collections.abc import Sequence
from functools import partial
from itertools import chain

from columns import Columns
from families import Draws
from own_worker import moves
from pacing import alternate
from projection_reference import difference
from ratios import at_least, ratios, spread
from sides import Side

_BATCHES = ((64, 8), (16, 64))
_BATCH_BOUND = 5.0
_BATCH_COLUMNS = Columns(
    ("batch", 12),
    ("batch ms", 9),
    ("loop ms", 9),
    ("loop/batch", 21),
    ("at least", 8),
    ("default ms", 10),
    ("default/batch", 21),
)
_WARM_COLUMNS = Columns(
    ("family", 15),
    ("m", 4),
    ("cold ms", 9),
    ("warm ms", 9),
    ("cold/warm", 21),
    ("difference", 10),
)


def show_batches(side: Side, budget: float, device: str, dtype: str) -> None:
    """Measure batches of Gramians, and print a row for each."""
    print(
        "\nA projection of each row of the identity with each Gramian of a batch, by "
        "ResidentProjector: at once, and in a\nloop; and in a loop by the default projector"
    )
    print(_BATCH_COLUMNS.head())
    for size, m in _BATCHES:
        side.ask("load_batch", size=size, m=m, device=device, dtype=dtype)

        def run(what: str, calls: int) -> float:
            taken: float = side.ask("measure_batch", what=what, calls=calls)
            return taken

        batch, loop, default = alternate(
            [partial(run, what) for what in ("batch", "loop", "default")], budget
        )
        middle, text = spread(ratios(loop, batch))
        print(
            _BATCH_COLUMNS.line(
                f"[{size}, {m}, {m}]",
                _milliseconds(batch),
                _milliseconds(loop),
                text,
                at_least(middle, _BATCH_BOUND),
                _milliseconds(default),
                spread(ratios(default, batch))[1],
            ),
            flush=True,
        )


def show_warm_starts(cases: Sequence[Draws], side: Side, budget: float) -> None:
    """Measure UPGrad's weights on Jacobians that move, and print a row for each case."""
    print(
        "\nUPGrad's weights on a Jacobian whose rows move by 1% a call: each call by itself, and "
        "from the active sets of\nthe last; the difference of the directions is over the longest "
        "row"
    )
    print(_WARM_COLUMNS.head())
    for case in cases:
        side.ask("load_sequence", **vars(case))
        cold, warm, worst = [], [], 0.0
        for draw, matrix in enumerate(case.jacobians()):

            def run(what: str, calls: int, draw: int = draw) -> float:
                taken: float = side.ask("measure_sequence", what=what, draw=draw, calls=calls)
                return taken

            times = alternate([partial(run, what) for what in ("cold", "warm")], budget)
            cold.append(times[0])
            warm.append(times[1])
            ends = [side.ask("last_weights", what=what, draw=draw) for what in ("cold", "warm")]
            worst = max(worst, difference(moves(matrix)[-1], *ends))
        together = list(chain(*cold)), list(chain(*warm))
        print(
            _WARM_COLUMNS.line(
                case.family,
                str(case.m),
                *(_milliseconds(seconds) for seconds in together),
                spread(ratios(*together))[1],
                f"{worst:.0e}" if worst else "0",
            ),
            flush=True,
        )


def _milliseconds(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.3f}"
