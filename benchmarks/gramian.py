"""Steps by the Gramian engine over plain steps, beside PyPI's torchjd: time and peak memory."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import gramian_table
import gramian_whole_tables
import torch
from gramian_cases import KINDS
from sides import DEFAULT_PEER, OURS, Side, peer_python

_TABLES = ("time", "memory", "training", "lengths")


def main() -> None:
    """Print the tables, each row as soon as it is known."""
    arguments = _parse()
    pythons = {"ours": OURS}
    if not arguments.no_peer:
        pythons["peer"] = peer_python(arguments.peer)
    tables, device, budget = arguments.tables, arguments.device, arguments.peer_seconds
    pace = (arguments.warmups, arguments.repetitions)
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Side(python, arguments.threads, "gramian_worker.py"))
            for name, python in pythons.items()
        }
        installed = {name: side.ask("about") for name, side in sides.items()}
        print(_heading(arguments, list(installed.values())))
        if device == "cuda" and "peer" in sides and not installed["peer"]["cuda"]:
            # Its ratios on a CPU would say nothing beside ours on a GPU.
            del sides["peer"], pythons["peer"]
        if "time" in tables:
            asked = list(sides.values())
            gramian_table.show_times(arguments.models, asked, device, *pace, budget)
    if "memory" in tables:
        processes = (arguments.threads, arguments.processes)
        gramian_table.show_memory(arguments.models, pythons, device, *processes)
    if "training" in tables or "lengths" in tables:
        with ExitStack() as stack:
            sides = {
                name: stack.enter_context(
                    Side(python, arguments.threads, "gramian_whole_worker.py")
                )
                for name, python in pythons.items()
            }
            if "training" in tables:
                gramian_whole_tables.show_training(sides, device, *pace, budget)
            if "lengths" in tables:
                passes = arguments.passes
                gramian_whole_tables.show_lengths(sides, device, passes, budget)


def _heading(arguments: argparse.Namespace, installed: Sequence[dict[str, str]]) -> str:
    libraries = [f"{side['library']} (torch {side['torch']})" for side in installed]
    where = "" if arguments.device == "cpu" else f", on {torch.cuda.get_device_name()}"
    if where and len(installed) == 2 and not installed[1]["cuda"]:
        where += "; the peer's torch cannot use it, so the peer is left out"
    listed = arguments.models if {"time", "memory"} & set(arguments.tables) else []
    models = "".join(f"\n  {name}: {KINDS[name].text}" for name in listed)
    return f"{' against '.join(libraries)}, threads: {arguments.threads}{where}{models}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--peer", type=Path, default=DEFAULT_PEER, help="python of the peer's environment")
    add("--no-peer", action="store_true", help="measure ours alone")
    add("--tables", nargs="+", choices=_TABLES, default=_TABLES)
    add("--models", nargs="+", choices=KINDS, default=list(KINDS), help="for time and memory")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where the models are")
    add("--threads", type=int, default=1, help="threads of torch, in both processes")
    add("--warmups", type=int, default=2)
    add("--repetitions", type=int, default=11, help="timed repetitions")
    add("--passes", type=int, default=5, help="new engines, for the table of lengths")
    add("--processes", type=int, default=3, help="fresh processes for each figure of memory")
    add(
        "--peer-seconds",
        type=float,
        default=60.0,
        help="begin no further repetition of the peer's after this long, in each row",
    )
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("`--device cuda` needs a GPU and a torch that can use it. Found none.")
    return arguments


if __name__ == "__main__":
    main()
