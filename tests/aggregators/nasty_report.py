"""What a projector makes of the nasty problems, judged by the reference, family by family.

Run ``python tests/aggregators/nasty_report.py --problems 2000``.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from pkgutil import resolve_name

import torch

from torchjd.linalg import DualConeProjector

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.aggregators.judge import CERTIFIED, LIMITS, Figures, judge
from tests.aggregators.nasty import FAMILIES, MOST_ROWS, nasty_problem
from tests.aggregators.reference import project_rows

TITLES = ("violation", "of the sum", "error", "row's error", "float32", "UPGrad32", "sum32")


def report(make: Callable[[], DualConeProjector], numbers: Iterable[int]) -> int:
    """Print the figures of a projector, and return on how many problems it failed."""
    worst = dict.fromkeys(FAMILIES, Figures())
    problems: Counter[str] = Counter()
    uncertified: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    bound = 0.0
    for number in numbers:
        name, matrix = nasty_problem(number)
        reference = project_rows(matrix.numpy())
        longest = float(matrix.norm(dim=1).max())
        relative = float(reference.bounds.max()) / longest if longest > 0 else 0.0
        bound = max(bound, relative)
        verdict = judge(make(), matrix, torch.tensor(reference.projections.astype(float)))
        problems[name] += 1
        uncertified[name] += relative > CERTIFIED
        failed[name] += bool(verdict.failures)
        worst[name] = Figures(*map(max, worst[name], verdict.figures))
        for failure in verdict.failures:
            print(f"problem {number} ({name}, {list(matrix.shape)}): {failure}")
    _print_table(worst, problems, uncertified, failed)
    print(f"\nfailed on {failed.total()} of {problems.total()} problems")
    print(f"references that are not certified: {uncertified.total()}; largest bound {bound:.1e}")
    return failed.total()


def _print_table(worst: dict[str, Figures], *counts: Counter[str]) -> None:
    heads = (*TITLES, "problems", "uncertified", "failed")
    print("\n" + " " * 23 + "".join(f"{head:>12}" for head in heads))
    for name, figures in worst.items():
        numbers = "".join(f"{figure:12.1e}" for figure in figures)
        print(f"{name:23}" + numbers + "".join(f"{count[name]:12}" for count in counts))
    print(f"{'allowed':23}" + "".join(f"{limit:12.0e}" for limit in LIMITS))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=2000, help="how many problems")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument(
        "--projector", default="ExactProjector", help="a class of jd_aggregators, or module:class"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{options.projector} on {options.problems} problems of up to {MOST_ROWS} rows")
    start = time.perf_counter()
    numbers = range(options.first, options.first + options.problems)
    name = options.projector
    projector = resolve_name(name if ":" in name else f"jd_aggregators:{name}")
    failed = report(projector, numbers)
    print(f"{time.perf_counter() - start:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
