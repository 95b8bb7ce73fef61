"""The tables of training steps, and of steps on sequences of different lengths."""

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain

from columns import Columns
from gramian_turns import at_most, in_turns, milliseconds, ratio
from ratios import ratios, spread
from sides import Side

_TRAINING_BOUND = 2.0
_LENGTHS_BOUND = 1.8
_TRAINING = Columns(
    ("library", 7),
    ("plain ms", 8),
    ("step ms", 8),
    ("step/plain", 19),
    ("at most", 7),
)
_LENGTHS = Columns(
    ("library", 7),
    ("plain ms", 8),
    ("new/plain", 19),
    ("at most", 7),
    ("known/plain", 19),
)


def show_training(
    sides: Mapping[str, Side], device: str, warmups: int, repetitions: int, budget: float
) -> None:
    """Measure steps of SGD on the losses of a batch, and print a row for each side.

    :param sides: Under "ours" and, if it is to be asked, "peer".
    :param device: Where the model is.
    :param warmups: How many repetitions to discard.
    :param repetitions: How many to keep.
    :param budget: The seconds after which no further repetition begins.
    """
    print(
        "\nA training step on the 32 losses of a batch with UPGradWeighting, its solver and SGD "
        "included, over a step of SGD on\ntheir mean: MLP 784-1024-1024-10"
    )
    print(_TRAINING.head())
    for name, side in sides.items():
        side.ask("load", device=device)

        def run(method: str, side: Side = side) -> float | None:
            taken: float | None = side.ask("train", method=method)
            return taken

        runs = [partial(run, method) for method in ("plain", "engine")]
        plain, engine = in_turns(runs, warmups, repetitions, budget)
        middle, text = ratio(engine, plain)
        bounded = name == "ours" and device == "cpu"
        verdict = at_most(middle, _TRAINING_BOUND if bounded else None)
        print(
            _TRAINING.line(name, milliseconds(plain), milliseconds(engine), text, verdict),
            flush=True,
        )
        _explain(side)


def show_lengths(sides: Mapping[str, Side], device: str, repetitions: int, budget: float) -> None:
    """Measure steps on batches of 20 lengths, each new to a new engine, and print a row a side.

    :param sides: Under "ours" and, if it is to be asked, "peer".
    :param device: Where the model is.
    :param repetitions: How many engines.
    :param budget: The seconds after which no further engine is made.
    """
    print(
        "\nA step with given weights on sequences of 20 lengths from 24 to 64, over a plain step "
        "on the same ones, the average over\nthe lengths: each new to the engine, and in a second "
        "pass; the transformer, batch 16"
    )
    print(_LENGTHS.head())
    for name, side in sides.items():
        side.ask("load", device=device)
        found = _passes(side, repetitions, budget)
        if not found:
            print(_LENGTHS.line(name, "-", "refuses", "", ""), flush=True)
            _explain(side)
            continue
        new, new_text = spread([_average(times, "new") for times in found])
        _, known_text = spread([_average(times, "known") for times in found])
        bounded = name == "ours" and device == "cpu"
        plain = list(chain(*(times["plain"] for times in found)))
        verdict = at_most(new, _LENGTHS_BOUND if bounded else None)
        print(
            _LENGTHS.line(
                name, f"{statistics.mean(plain) * 1e3:.1f}", new_text, verdict, known_text
            ),
            flush=True,
        )


def _passes(side: Side, repetitions: int, budget: float) -> Sequence[dict[str, list[float]]]:
    """Return the seconds of each repetition; none where the engine refuses."""
    found: list[dict[str, list[float]]] = []
    spent = 0.0
    for repetition in range(repetitions):
        times: dict[str, list[float]] = side.ask("lengths", forward=repetition % 2 == 0)
        if not times:
            return []
        found.append(times)
        spent += sum(chain(*times.values()))
        if spent > budget:
            break
    return found


def _average(times: dict[str, list[float]], which: str) -> float:
    """Return the average over the lengths of the ratio to the plain step taken beside it."""
    half = len(times["plain"]) // 2
    plain = times["plain"][:half] if which == "new" else times["plain"][half:]
    return statistics.mean(ratios(times[which], plain))


def _explain(side: Side) -> None:
    reason = side.ask("why")
    if reason:
        print(f"{'':9}refuses: {reason}", flush=True)
