"""Every method that PyPI's torchjd has too, a call of each side by side: times in turns."""

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median

from columns import Columns
from methods_cases import METHODS, Method
from pacing import alternate
from ratios import at_least, ratios, spread
from sides import DEFAULT_PEER, OURS, Side, peer_python

_COLUMNS = Columns(
    ("method", 26), ("m", 3), ("n", 7), ("ours ms", 9), ("0.18 ms", 9), ("0.18 / ours", 22),
    ("bound", 9),
)  # fmt: skip
# Not slower by more than 10 %. At m = 16 solvers that need no conic program are to be 20 times
# faster, where there are so few columns that it is the solver that is measured.
_BOUND = 1 / 1.1
_SOLVED = {"CAGrad": 20.0, "NashMTL": 20.0}
_SOLVED_SIZE, _SOLVED_COLUMNS = 16, 1000


def main() -> None:
    """Print a row for each method and size as soon as it is known."""
    arguments = _parse()
    chosen = [m for m in METHODS if not arguments.methods or m.name in arguments.methods]
    with (
        Side(OURS, arguments.threads, "methods_worker.py") as here,
        Side(peer_python(arguments.peer), arguments.threads, "methods_worker.py") as there,
    ):
        ours, peer = (f"{a['library']} (torch {a['torch']})" for a in _about(here, there))
        print(f"{ours} against {peer}, threads: {arguments.threads}; Jacobians in float32")
        print(_COLUMNS.head())
        for method in chosen:
            sizes = [m for m in arguments.sizes or _sizes(method) if m >= method.fewest]
            for n in [1] if method.stat == "losses" else arguments.columns:
                for m in sizes:
                    _show(method, m, n, (here, there), arguments)


def _about(*sides: Side) -> list[dict[str, str]]:
    return [side.ask("about") for side in sides]


def _sizes(method: Method) -> list[int]:
    return sorted({2, 8, 32, *([_SOLVED_SIZE] if method.name in _SOLVED else [])})


def _show(
    method: Method, m: int, n: int, sides: Sequence[Side], arguments: argparse.Namespace
) -> None:
    pairs: list[list[list[float]]] = []
    for seed in range(arguments.draws):
        loaded = [
            side.ask("load", make=method.make, stat=method.stat, m=m, n=n, seed=seed)
            for side in sides
        ]
        if not all(loaded):
            errors = [side.ask("error") for side, ok in zip(sides, loaded, strict=True) if not ok]
            print(_COLUMNS.line(method.name, str(m), str(n), "", "", errors[0][:60], ""))
            return
        runs = [partial(_measure, side) for side in sides]
        pairs.append(alternate(runs, arguments.seconds))
    middle, text = spread(list(chain(*(ratios(peer, ours) for ours, peer in pairs))))
    times = [f"{median(chain(*(pair[i] for pair in pairs))) * 1e3:.4f}" for i in range(2)]
    is_of_solver = m == _SOLVED_SIZE and n <= _SOLVED_COLUMNS
    bound = _SOLVED.get(method.name, _BOUND) if is_of_solver else _BOUND
    verdict = at_least(middle, bound)
    print(_COLUMNS.line(method.name, str(m), str(n), *times, text, verdict), flush=True)


def _measure(side: Side, calls: int) -> float:
    taken: float = side.ask("measure", calls=calls)
    return taken


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--peer", type=Path, default=DEFAULT_PEER, help="python of the peer's environment")
    add("--methods", nargs="+", choices=sorted({m.name for m in METHODS}), help="instead of all")
    add("--sizes", nargs="+", type=int, help="numbers of rows, instead of 2, 8 and 32")
    add("--columns", nargs="+", type=int, default=[1000, 100_000], help="of the Jacobians")
    add("--draws", type=int, default=3, help="Jacobians of each size")
    add("--seconds", type=float, default=0.3, help="time for the repetitions with one Jacobian")
    add("--threads", type=int, default=1, help="threads of torch, in both processes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
