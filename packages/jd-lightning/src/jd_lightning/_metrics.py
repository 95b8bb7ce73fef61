"""What is logged of a record: numbers by key."""

from collections.abc import Iterator
from itertools import combinations

from torch import Tensor

from torchjd.monitor import Record

# With more objectives the pairs would drown all else; they are in the heat map.
MOST_IN_PAIRS = 8


def conflict_key(prefix: str) -> str:
    """Return the key of the conflict rate, which the progress bar shows."""
    return f"{prefix}/conflict_rate"


def metrics(record: Record, prefix: str, *, named: bool, learning_rate: float) -> dict[str, float]:
    """Return the numbers of ``record`` by key; none where its gradients are not finite.

    :param prefix: What all keys begin with.
    :param named: Whether the objectives have names that last: samples of a batch have none.
    :param learning_rate: What the optimizer multiplies the update by.
    """
    norms = record.norms
    if norms is not None and not bool(norms.isfinite().all()):
        return {}  # a step that the scaler of half precision skips
    found = {} if record.conflict_rate is None else {conflict_key(prefix): record.conflict_rate}
    if not named:
        return found if norms is None else found | _summary(norms, prefix)
    found |= _by_name(record, "norm", norms, prefix)
    found |= _by_name(record, "weight", record.weights, prefix)
    if record.cosines is not None and len(record.names) <= MOST_IN_PAIRS:
        found |= _pairs(record.names, record.cosines, prefix)
    decrease = record.predicted_decrease
    scaled = None if decrease is None else decrease * learning_rate
    return found | _by_name(record, "predicted_decrease", scaled, prefix)


def _summary(norms: Tensor, prefix: str) -> dict[str, float]:
    smallest, mean, largest = norms.aminmax().min, norms.mean(), norms.aminmax().max
    values = {"mean": mean, "min": smallest, "max": largest}
    return {f"{prefix}/norm/{name}": float(value) for name, value in values.items()}


def _by_name(record: Record, kind: str, values: Tensor | None, prefix: str) -> dict[str, float]:
    if values is None:
        return {}
    pairs = zip(record.names, values.tolist(), strict=True)
    return {f"{prefix}/{kind}/{name}": value for name, value in pairs}


def _pairs(names: tuple[str, ...], cosines: Tensor, prefix: str) -> dict[str, float]:
    def entries() -> Iterator[tuple[str, float]]:
        rows = cosines.tolist()
        for i, j in combinations(range(len(names)), 2):
            yield f"{prefix}/cosine/{names[i]}/{names[j]}", rows[i][j]

    return dict(entries())
