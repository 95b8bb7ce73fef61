"""UPGrad's weights from a Gramian against PyPI's torchjd, side by side: time and accuracy."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import own_tables
import projection_table
import torch
from families import FAMILIES, MAIN, Draws
from sides import DEFAULT_PEER, OURS, Side, peer_python

_TABLES = ("times", "min-norm", "batches", "warm")
_SIZES = {"cpu": (2, 3, 8, 16, 32, 64, 128), "cuda": (8, 32, 128, 512)}
_FULL = (256, 512)
_WARM_SIZES = (32, 64, 128, 256)
_MIN_NORM_SIZES = (2, 8, 32, 128)


def main() -> None:
    """Print the tables, each row as soon as it is known."""
    arguments = _parse()
    tables, budget = arguments.tables, arguments.seconds
    if "times" in tables or "min-norm" in tables:
        peer, worker = peer_python(arguments.peer), "projection_worker.py"
        with (
            Side(OURS, arguments.threads, worker) as here,
            Side(peer, arguments.threads, worker) as there,
        ):
            sides = (here, there)
            print(_heading(arguments, [side.ask("about") for side in sides]))
            if "times" in tables:
                cases = _cases(arguments, arguments.families, _sizes(arguments))
                projection_table.show_times(cases, sides, budget, arguments.peer_up_to)
            if "min-norm" in tables:
                cases = _cases(arguments, _main(arguments), arguments.sizes or _MIN_NORM_SIZES)
                projection_table.show_gaps(cases, sides, budget)
    if "batches" in tables or "warm" in tables:
        with Side(OURS, arguments.threads, "own_worker.py") as here:
            if "batches" in tables:
                own_tables.show_batches(here, 3 * budget, arguments.device, arguments.dtype)
            if "warm" in tables:
                cases = _cases(arguments, _main(arguments), arguments.sizes or _WARM_SIZES)
                own_tables.show_warm_starts(cases, here, budget)


def _sizes(arguments: argparse.Namespace) -> Sequence[int]:
    sizes: Sequence[int] = arguments.sizes or _SIZES[arguments.device]
    return sorted({*sizes, *_FULL}) if arguments.full else sizes


def _main(arguments: argparse.Namespace) -> list[str]:
    return [family for family in arguments.families if family in MAIN] or arguments.families


def _cases(
    arguments: argparse.Namespace, families: Sequence[str], sizes: Sequence[int]
) -> list[Draws]:
    how = (arguments.draws, arguments.dtype, arguments.device, arguments.projector)
    return [Draws(family, m, *how) for family in families for m in sizes]


def _heading(arguments: argparse.Namespace, installed: Sequence[dict[str, str]]) -> str:
    ours, peer = (f"{side['library']} (torch {side['torch']})" for side in installed)
    families = "".join(f"\n  {name}: {FAMILIES[name].text}" for name in arguments.families)
    where = arguments.device
    if where == "cuda" and not installed[1]["cuda"]:
        where = "cuda, the peer's on the CPU"
    return (
        f"{ours} against {peer}, threads: {arguments.threads}\n"
        f"Gramians of {arguments.draws} Jacobians each, in {arguments.dtype}, on {where}; "
        f"our projector: {arguments.projector or 'the default'}{families}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--peer", type=Path, default=DEFAULT_PEER, help="python of the peer's environment")
    add("--tables", nargs="+", choices=_TABLES, default=_TABLES)
    add("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    add("--sizes", nargs="+", type=int, help="numbers of rows, instead of each table's own")
    add("--full", action="store_true", help="also m = 256, and 512 without the peer")
    add("--projector", help="ours, a name from torchjd.linalg; default: the default projector")
    add("--device", choices=_SIZES, default="cpu", help="where the Gramians are")
    add("--dtype", choices=["float64", "float32"], default="float64", help="of the Gramians")
    add("--draws", type=int, default=3, help="Jacobians of each family and size")
    add("--seconds", type=float, default=1.0, help="time for the repetitions with one Jacobian")
    add("--peer-up-to", type=int, default=256, help="largest m for the peer, which takes minutes")
    add("--threads", type=int, default=1, help="threads of torch, in both processes")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("`--device cuda` needs a GPU and a torch that can use it. Found none.")
    return arguments


if __name__ == "__main__":
    main()
