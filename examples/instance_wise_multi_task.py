"""Instance-wise multi-task learning: each target of each car is an objective of its own.

The data are 392 cars (Auto MPG, shipped with mlxtend). From cylinders, displacement, weight, year
and origin, a trunk and three heads predict mileage, horsepower and acceleration. A batch of 16 cars
has a matrix of 16 x 3 losses, and the engine computes the Gramian of all 48 gradients with respect
to the trunk, which all of them share: a tensor of shape [16, 3, 3, 16]. ``Flattening`` lets a
weighting read it, and the weights have the shape of the losses.

The Gramian also tells which of the 48 losses a step of the trunk makes worse, to first order: those
whose gradient points away from the update. The share of them, the sum of the weights, the time of a
step, and the R² on cars that were not seen, are measured by the run. The weights of UPGrad sum to
much more than those of the mean, so that its steps are longer; with a ridge of 1e-4 of the trace
they are shorter, and some losses get worse again. That is the price of so many rows.

    python examples/instance_wise_multi_task.py --seeds 2 --epochs 8
"""

import argparse
import time
from dataclasses import dataclass
from statistics import fmean

import torch
from mlxtend.data import autompg_data
from torch import Tensor, nn
from torch.optim import SGD

from torchjd.aggregation import Flattening, MeanWeighting, UPGradWeighting, Weighting
from torchjd.autogram import Engine
from torchjd.linalg import PSDMatrix, QuadprogProjector, flatten_gramian

TARGETS = ["mpg", "horsepower", "acceleration"]
METHODS: dict[str, Weighting[PSDMatrix]] = {
    "mean": MeanWeighting(),
    "UPGrad": UPGradWeighting(),
    "UPGrad with a ridge": UPGradWeighting(projector=QuadprogProjector()),
}


def load_cars(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardised inputs and targets for training, then for the test."""
    columns, miles = autompg_data()
    mpg = torch.tensor(miles, dtype=torch.float32)
    cylinders, displacement, horsepower, weight, acceleration, year, origin = torch.tensor(
        columns[:, :7], dtype=torch.float32
    ).T
    inputs = torch.stack([cylinders, displacement, weight, year, origin], dim=1)
    targets = torch.stack([mpg, horsepower, acceleration], dim=1)
    train, test = torch.randperm(len(mpg), generator=torch.Generator().manual_seed(seed)).split(
        [316, 76]
    )
    inputs = (inputs - inputs[train].mean(0)) / inputs[train].std(0)
    targets = (targets - targets[train].mean(0)) / targets[train].std(0)
    return inputs[train], targets[train], inputs[test], targets[test]


@dataclass
class Run:
    """What one training measured.

    :ivar r2: The share of each target's variance on the test cars that is explained: ``[3]``.
    :ivar worse: The share of the losses of a batch that its step made worse, to first order.
    :ivar weight: What the weights of a batch sum to.
    :ivar seconds: The time of one step.
    """

    r2: Tensor
    worse: float
    weight: float
    seconds: float


class Observed:
    """A weighting that also takes note of what its weights do."""

    def __init__(self, weighting: Weighting[PSDMatrix]) -> None:
        self.weighting = Flattening(weighting)
        self.worse: list[Tensor] = []
        self.sums: list[Tensor] = []

    def __call__(self, gramian: Tensor) -> Tensor:
        """Return weights of the shape of the losses."""
        weights = self.weighting(gramian)
        G, w = flatten_gramian(gramian), weights.flatten()
        slopes = G @ w  # of each loss, along the update
        lengths = (G.diagonal() * (w @ slopes)).clamp_min(0.0).sqrt()
        self.worse.append((slopes < -1e-3 * lengths).float().mean())  # 1e-3: above the rounding
        self.sums.append(w.sum())
        return weights


def train(weighting: Weighting[PSDMatrix], seed: int, epochs: int) -> Run:
    x, y, test_x, test_y = load_cars(seed)
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 8), nn.Tanh())
    heads = nn.ModuleList(nn.Linear(8, 1) for _ in TARGETS)
    engine = Engine(trunk, batch_dim=0)
    optimizer = SGD([*trunk.parameters(), *heads.parameters()], lr=0.1)
    observed = Observed(weighting)

    def predict(inputs: Tensor) -> Tensor:
        features = trunk(inputs)
        return torch.cat([head(features) for head in heads], dim=1)

    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(16):
            losses = (predict(x[rows]) - y[rows]).square()  # one a car and target
            optimizer.zero_grad()
            engine.backward(losses, observed)  # into the heads too: the losses reach them
            optimizer.step()
    seconds = (time.perf_counter() - start) / len(observed.sums)

    with torch.no_grad():
        r2 = 1 - (predict(test_x) - test_y).square().mean(0) / test_y.var(0, correction=0)
    worse, weight = torch.stack(observed.worse).mean(), torch.stack(observed.sums).mean()
    return Run(r2, worse.item(), weight.item(), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="One objective for each car and target.")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each kind (default: 2)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of a run (default: 8)")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # the network is small: a second thread only waits
    for name, weighting in METHODS.items():
        runs = [train(weighting, seed, arguments.epochs) for seed in range(arguments.seeds)]
        r2 = torch.stack([run.r2 for run in runs]).mean(dim=0)
        worse = fmean(run.worse for run in runs)
        print(
            f"{name}: a step makes {100 * worse:.1f} % of the losses worse, its weights sum to "
            f"{fmean(run.weight for run in runs):.0f}, it takes "
            f"{1e3 * fmean(run.seconds for run in runs):.1f} ms"
        )
        values = ", ".join(f"{t} {v:.2f}" for t, v in zip(TARGETS, r2.tolist(), strict=True))
        print(f"  R² on unseen cars: {values}")


if __name__ == "__main__":
    main()
