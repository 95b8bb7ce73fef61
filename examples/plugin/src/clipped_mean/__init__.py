"""ClippedMean: no objective outweighs the others by the length of its gradient alone."""

import torch

from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Traits


class ClippedMeanWeighting(GramianWeighting):
    """Weigh each row by 1/m, and by less where it is longer than the median."""

    degree = 0.0  # the weights of rows that are all s times as long are the same

    def forward(self, gramian, /):  # [m, m] -> [m]
        """Return the weights."""
        lengths = gramian.diagonal().clamp_min(0.0).sqrt()
        median = lengths.median()
        return torch.where(lengths > median, median / lengths, 1.0) / len(gramian)


class ClippedMean(GramianWeightedAggregator):
    """The mean of the rows, those longer than the median cut to its length."""

    traits = Traits(permutation=True, cost="m^2 n", on_device=True, compiles=True)

    def __init__(self):
        super().__init__(ClippedMeanWeighting())
