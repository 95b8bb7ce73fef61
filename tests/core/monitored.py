"""Small methods for the tests of the monitor, of every kind that it tells apart."""

import torch
from torch import Tensor, nn

from torchjd.aggregation import (
    Aggregator,
    GeneralizedWeighting,
    GramianWeightedAggregator,
    GramianWeighting,
    MatrixWeighting,
    WeightedAggregator,
)


class Equal(MatrixWeighting):
    """Reads no more than the number of rows, as means do."""

    needs = "row count"
    degree = 0.0

    def forward(self, matrix, /):
        return matrix.new_full((len(matrix),), 1.0 / len(matrix))


class InverseSquare(GramianWeighting):
    """Of a degree, so that aggregators may scale the Jacobian."""

    degree = -2.0

    def forward(self, gramian, /):
        return 1.0 / gramian.diagonal()


class Undeclared(GramianWeighting):
    """Without a degree, so that nobody may."""

    def forward(self, gramian, /):
        return gramian.diagonal() / gramian.trace()


class OfShares(Undeclared):
    """The same, declared: the scale plays no part."""

    degree = 0.0


class OfRows(MatrixWeighting):
    def forward(self, matrix, /):
        return 1.0 / (1.0 + matrix.abs().sum(dim=1))


class OfLosses(GramianWeighting):
    needs_losses = True

    def forward(self, gramian, /, *, losses):
        return losses.to(gramian) / losses.sum()


class OfTwoBatches(MatrixWeighting):
    needs = "cross gramian"

    def forward(self, cross_gramian, /):
        return torch.ones(len(cross_gramian), dtype=cross_gramian.dtype)


class Kept(GramianWeighting):
    """Returns a tensor that it writes to later."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(0))

    def forward(self, gramian, /):
        if len(self.weights) != len(gramian):
            self.weights = torch.zeros(len(gramian), dtype=gramian.dtype)
        return self.weights.add_(1.0)


class OfShape(GeneralizedWeighting):
    def forward(self, generalized_gramian, /):
        shape = generalized_gramian.shape[: generalized_gramian.ndim // 2]
        return torch.arange(1.0, 1.0 + shape.numel(), dtype=generalized_gramian.dtype).view(shape)


class Median(Aggregator):
    def forward(self, matrix, /):
        return matrix.median(dim=0).values


class ByParts(Aggregator):
    """Calls itself on one block after the other, as coordinate-wise methods may."""

    def forward(self, matrix, /):
        return matrix.amax(dim=0)

    def aggregate_blocks(self, blocks, *, losses=None, cross_gramian=None):
        return [self(block) for block in blocks], None


class Halved(WeightedAggregator):
    """Has the weighted sum, and changes it."""

    def __init__(self) -> None:
        super().__init__(InverseSquare())

    def forward(self, matrix, /, **inputs):
        return super().forward(matrix, **inputs) / 2


class OfUnitRows(WeightedAggregator):
    """Has the weighted sum of other rows."""

    def __init__(self) -> None:
        super().__init__(InverseSquare())

    def forward(self, matrix, /, **inputs):
        return super().forward(nn.functional.normalize(matrix, dim=1), **inputs)


class OfSomeRows(WeightedAggregator):
    """Has the weighted sum of some of the rows."""

    def __init__(self) -> None:
        super().__init__(InverseSquare())

    def forward(self, matrix, /, **inputs):
        return super().forward(matrix[1:], **inputs)


class Refused(GramianWeighting):
    """Returns one weight too many."""

    def forward(self, gramian, /):
        return gramian.new_ones(len(gramian) + 1)


def inverse_square() -> WeightedAggregator:
    return GramianWeightedAggregator(InverseSquare())


AGGREGATORS = {
    "row count": lambda: WeightedAggregator(Equal()),
    "gramian": inverse_square,
    "gramian, no degree": lambda: WeightedAggregator(Undeclared()),
    "jacobian": lambda: WeightedAggregator(OfRows()),
    "losses": lambda: WeightedAggregator(OfLosses()),
    "cross gramian": lambda: WeightedAggregator(OfTwoBatches()),
    "kept weights": lambda: WeightedAggregator(Kept()),
    "own forward": Median,
    "by parts": ByParts,
    "changed sum": Halved,
    "sum of other rows": OfUnitRows,
    "sum of some rows": OfSomeRows,
}
WEIGHTED = set(AGGREGATORS) - {"own forward", "by parts", "sum of some rows"}

INPUTS = {
    "losses": torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64),
    "cross_gramian": torch.eye(3, dtype=torch.float64),
}


def rows(seed: int = 0, m: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, 7, generator=generator, dtype=torch.float64).to(dtype)


def split(matrix: Tensor) -> list[Tensor]:
    return [part.contiguous() for part in matrix.split([4, 0, 3], dim=1)]


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    return model.double()


def batch(size: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 5, generator=generator, dtype=torch.float64)


def jacobian_of(model: nn.Module, losses: Tensor) -> Tensor:
    """Return the Jacobian of flattened losses, row by row."""
    found = [
        torch.cat(
            [
                part.flatten()
                for part in torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            ]
        )
        for loss in losses.flatten()
    ]
    return torch.stack(found)
