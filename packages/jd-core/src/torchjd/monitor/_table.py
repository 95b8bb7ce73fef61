"""Records as a table: its columns, and its lines, many at once."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, groupby

import torch
from torch import Tensor

from torchjd.linalg._widening import wide_dtype

from . import _statistics as statistics
from ._record import Record

_PER_OBJECTIVE = ("norm", "weight", "predicted_decrease", "decrease")


def columns(names: Sequence[str], *, with_pairs: bool) -> list[str]:
    """Return the names of the columns."""
    found = ["step", "conflict_rate"]
    found += [f"{kind}/{name}" for kind in _PER_OBJECTIVE for name in names]
    if with_pairs:
        found += [f"cosine/{first}/{second}" for first, second in combinations(names, 2)]
    return found


def rows(records: Sequence[Record], *, with_pairs: bool) -> Iterator[str]:
    """Yield a line for each record, of as many objectives each."""
    for _, alike in groupby(records, key=_kind):
        yield from _rows(list(alike), with_pairs)


def _kind(record: Record) -> tuple[object, ...]:
    """Return what records must have in common to be stacked."""
    kept = (
        record.scaled_gramian,
        record.scale,
        record.weights,
        record.products,
        record.losses,
        record.losses_after,
    )
    return tuple(None if found is None else (found.dtype, found.device) for found in kept)


def _rows(records: list[Record], with_pairs: bool) -> Iterator[str]:
    m = len(records[0].names)
    n_pairs = m * (m - 1) // 2 if with_pairs else 0
    parts = [
        (part, width)
        for part, width in zip(_values(records, with_pairs), (1, m, m, m, m, n_pairs), strict=True)
    ]
    known = [part for part, _ in parts if part is not None]
    line = "%d" + "".join((",%.9g" if part is not None else ",") * n for part, n in parts) + "\n"
    # One tensor, for one wait for the device.
    values = torch.cat(known, dim=1).tolist() if known else [[] for _ in records]
    for record, row in zip(records, values, strict=True):
        yield line % (record.step, *row)


def _values(records: list[Record], with_pairs: bool) -> list[Tensor | None]:
    """Return the values of each kind of column, of shape ``[records, ...]``; None if unknown."""
    first = records[0]
    device = next(
        (found.device for found in (first.scaled_gramian, first.weights) if found is not None),
        torch.device("cpu"),
    )

    def stacked(read: Callable[[Record], Tensor | None]) -> Tensor | None:
        found = [tensor for record in records if (tensor := read(record)) is not None]
        return torch.stack(found).to(device, wide_dtype(device)) if found else None

    rates = torch.tensor([r.learning_rate for r in records], dtype=wide_dtype(device))
    rates = rates.to(device)[:, None]
    gramian = stacked(lambda record: record.scaled_gramian)
    scale = stacked(lambda record: record.scale)
    weights = stacked(lambda record: record.weights)
    predicted = stacked(lambda record: record.products)
    before, after = stacked(lambda r: r.losses), stacked(lambda r: r.losses_after)
    decrease = None if before is None or after is None else before - after
    if gramian is None:
        predicted = None if predicted is None else rates * predicted
        return [None, None, weights, predicted, decrease, None]
    scale = torch.ones_like(gramian[:, 0, 0]) if scale is None else scale
    if predicted is None and weights is not None:
        predicted = statistics.progress(gramian, scale, weights)
    m = gramian.shape[-1]
    first_of_pair, second_of_pair = torch.triu_indices(m, m, 1, device=device)
    return [
        statistics.conflict_rate(gramian)[:, None],
        statistics.norms(gramian) * scale[:, None],
        weights,
        None if predicted is None else rates * predicted,
        decrease,
        statistics.cosines(gramian)[:, first_of_pair, second_of_pair]
        if with_pairs
        else gramian[:, 0, :0],
    ]
