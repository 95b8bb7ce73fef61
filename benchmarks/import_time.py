"""What `import torchjd` adds to `import torch`, and the first discovered name to that."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

_TORCH = "import torch"
_BOTH = "import torch, torchjd"
_INSIDE = """
import json, time
import torch
clocks = time.perf_counter, time.process_time
start = [clock() for clock in clocks]
import torchjd
imported = [clock() for clock in clocks]
from torchjd.aggregation import UPGrad
found = [clock() for clock in clocks]
pairs = zip(start, imported, found)
print(json.dumps([[b - a, c - b] for a, b, c in pairs]))
"""


def run(code: str) -> tuple[float, str]:
    """Run ``code`` in a fresh process; return its seconds from start to end, and its output."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def report(title: str, seconds: Sequence[float], bound: float | None = None) -> None:
    """Print the median and the quartiles in milliseconds, and whether the median is in bounds."""
    low, middle, high = (1e3 * s for s in statistics.quantiles(seconds, n=4))
    verdict = ""
    if bound is not None:
        verdict = f"  at most {bound:.0f}: {'ok' if middle <= bound else 'NO'}"
    print(f"{title:45}{middle:8.1f} [{low:.1f} {high:.1f}]{verdict}")


def main() -> None:
    """Run the three kinds of process in alternation, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=21)
    repetitions: int = parser.parse_args().repetitions
    for code in (_TORCH, _BOTH, _INSIDE):
        run(code)  # writes the bytecode, and fills the cache of files
    alone, both = [], []
    inside: list[Any] = []
    for _ in range(repetitions):
        alone.append(run(_TORCH)[0])
        both.append(run(_BOTH)[0])
        inside.append(json.loads(run(_INSIDE)[1]))
    print(f"Milliseconds: median [quartiles] of {repetitions} fresh processes, in alternation")
    print("\nA whole process")
    report("import torch", alone)
    report("import torch, torchjd", both)
    report(
        "the second less the first, a pair at a time",
        [b - a for a, b in zip(alone, both, strict=True)],
    )
    for clock, name in enumerate(
        ("by the clock", "processor time, which a busy machine blurs less")
    ):
        print(f"\nInside one process, after `import torch`: {name}")
        imports, discoveries = zip(*(times[clock] for times in inside), strict=True)
        report("import torchjd", imports, bound=30)
        report("then from torchjd.aggregation import UPGrad", discoveries, bound=20)


if __name__ == "__main__":
    main()
