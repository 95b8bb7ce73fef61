"""Aggregators of every kind: those that are installed, and some of the tests' own."""

import torch

import torchjd.aggregation
from torchjd.aggregation import (
    Aggregator,
    GramianWeightedAggregator,
    GramianWeighting,
    WeightedAggregator,
)


class Total(Aggregator):
    """The sum of the rows."""

    def forward(self, matrix, /):
        return matrix.sum(dim=0)


class Shrinking(GramianWeighting):
    """Weights that depend on how long the rows are: what scales these spoils them."""

    def forward(self, gramian, /):
        return 1.0 / (0.01 + gramian.diagonal())


class Trimmed(Aggregator):
    """A mean without what is furthest out: it hides what is not finite."""

    def forward(self, matrix, /):
        middle = matrix.nan_to_num().sort(dim=0).values
        return middle[1:-1].mean(dim=0) if len(matrix) > 2 else middle[0]


class Averaging(Aggregator):
    """The mean of the rows, averaged over the steps: one infinity stays in it for ever."""

    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, matrix, /):
        self.calls += 1
        self.average = 0.5 * self.average + 0.5 * matrix.mean(dim=0)
        return self.average


class OfLosses(GramianWeighting):
    """Weights that are the values of the losses."""

    needs_losses = True

    def forward(self, gramian, /, *, losses):
        return losses


OWN = {
    "Total": Total,
    "Shrinking": lambda: GramianWeightedAggregator(Shrinking()),
    "Trimmed": Trimmed,
    "Averaging": Averaging,
    "OfLosses": lambda: WeightedAggregator(OfLosses()),
}

# What the methods that need parameters are given, for m objectives; the others are made without.
ARGUMENTS = {
    "CAGrad": lambda m: {"c": 0.5},
    "ConicGrad": lambda m: {"c": 0.5},
    "Constant": lambda m: {"weights": torch.linspace(0.5, 2.0, m)},
    "FairGrad": lambda m: {"alpha": 0.5},
    "Krum": lambda m: {"n_byzantine": (m - 3) // 2},
    "NashMTL": lambda m: {"n_tasks": m},
    "TrimmedMean": lambda m: {"trim_number": (m - 1) // 2},
}


def installed(m):
    """Return, by name, how to make each installed aggregator for m objectives."""
    return {
        method.name: lambda method=method: method.aggregator(
            **ARGUMENTS.get(method.name, lambda m: {})(m)
        )
        for method in torchjd.aggregation.methods()
        if method.aggregator is not None
    }
