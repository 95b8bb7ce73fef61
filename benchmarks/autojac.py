"""The Jacobian engine against PyPI's torchjd, side by side: time, exactness and memory."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import memory_table
import time_table
from sides import DEFAULT_PEER, OURS, Side, peer_python
from workload import KINDS, LOSS_KINDS, Case

_MEANS_OVER = {
    "parts": "one of m equal parts of the batch",
    "targets": "the whole batch, each with labels of its own",
}


def main() -> None:
    """Print the tables, each row as soon as it is known."""
    arguments = _parse()
    peer = peer_python(arguments.peer)
    cases = [Case(kind, m, arguments.losses) for kind in arguments.models for m in arguments.m]
    with Side(OURS, arguments.threads) as here, Side(peer, arguments.threads) as there:
        print(_heading(arguments, [side.ask("about") for side in (here, there)]))
        if "time" in arguments.tables:
            repetitions = (arguments.warmups, arguments.repetitions)
            time_table.show(cases, here, there, arguments.step, *repetitions)
    if "memory" in arguments.tables:
        sides = {"ours": OURS, "peer": peer}
        step = arguments.step or "Mean"
        memory_table.show(cases, sides, step, arguments.threads, arguments.processes)


def _heading(arguments: argparse.Namespace, installed: Sequence[dict[str, str]]) -> str:
    ours, peer = (f"{side['library']} (torch {side['torch']})" for side in installed)
    models = "".join(f"\n  {name}: {KINDS[name].text}" for name in arguments.models)
    return (
        f"{ours} against {peer}, threads: {arguments.threads}{models}\n"
        f"  m losses, each the mean over {_MEANS_OVER[arguments.losses]}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--peer", type=Path, default=DEFAULT_PEER, help="python of the peer's environment")
    add("--tables", nargs="+", choices=["time", "memory"], default=["time", "memory"])
    add("--models", nargs="+", choices=KINDS, default=["mlp", "transformer"])
    add("-m", nargs="+", type=int, default=[2, 8, 32], help="numbers of losses")
    add("--losses", choices=LOSS_KINDS, default="parts", help="what each loss is the mean over")
    add("--step", choices=["Mean", "UPGrad"], help="time a whole step with this aggregator")
    add("--threads", type=int, default=1, help="threads of torch, in both processes")
    add("--warmups", type=int, default=3)
    add("--repetitions", type=int, default=21, help="timed repetitions")
    add("--processes", type=int, default=3, help="fresh processes for each figure of memory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
