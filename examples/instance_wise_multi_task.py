"""Instance-wise multi-task learning: each target of each car is an objective of its own.

The data are 392 cars (Auto MPG, shipped with mlxtend). From the number of cylinders, the year and
the origin, a trunk and four heads predict mileage, horsepower, acceleration and displacement. A
batch of 16 cars has a matrix of 16 x 4 losses, and the engine computes the Gramian of all 64
gradients with respect to the trunk, which all of them share: a tensor of shape [16, 4, 4, 16].
``Flattening`` lets UPGrad read it, and the weights have the shape of the losses.

For each step, the Gramian also tells which of the 64 losses the step of the trunk makes worse, to
first order: those whose gradient points away from the update. The share of them, and the R² on cars
that were not seen, are measured by the run; what is printed of several runs is their mean ± spread.

    python examples/instance_wise_multi_task.py --seeds 3 --epochs 15
"""

import argparse
import time

import torch
from mlxtend.data import autompg_data
from torch import Tensor, nn
from torch.optim import SGD

from torchjd.aggregation import Flattening, GramianWeighting, MeanWeighting, UPGradWeighting
from torchjd.autogram import Engine
from torchjd.linalg import flatten_gramian

TARGETS = ["mpg", "horsepower", "acceleration", "displacement"]


def load_cars(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardised inputs and targets for training, then for the test."""
    columns, mpg = autompg_data()
    table = torch.tensor(columns, dtype=torch.float32)
    inputs = table[:, [0, 5, 6]]  # cylinders, year, origin
    targets = torch.stack([torch.tensor(mpg).float(), table[:, 2], table[:, 4], table[:, 1]], dim=1)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    train, test = order[:316], order[316:]
    inputs = (inputs - inputs[train].mean(0)) / inputs[train].std(0)
    targets = (targets - targets[train].mean(0)) / targets[train].std(0)
    return inputs[train], targets[train], inputs[test], targets[test]


class Observed:
    """A weighting that also takes note of how many losses its step makes worse."""

    def __init__(self, weighting: GramianWeighting) -> None:
        self.weighting = Flattening(weighting)
        self.worse: list[Tensor] = []

    def __call__(self, gramian: Tensor) -> Tensor:
        weights = self.weighting(gramian)
        G = flatten_gramian(gramian)
        slopes = G @ weights.flatten()  # of each loss, along the update
        lengths = (G.diagonal() * (weights.flatten() @ slopes)).clamp_min(0.0).sqrt()
        self.worse.append((slopes < -1e-4 * lengths).float().mean())  # 1e-4: above the rounding
        return weights


def train(weighting: GramianWeighting, seed: int, epochs: int) -> tuple[Tensor, Tensor, float]:
    """Return the R² of each target, the share of losses made worse, and the time of a step."""
    x, y, test_x, test_y = load_cars(seed)
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3), nn.Tanh())
    heads = nn.ModuleList(nn.Linear(3, 1) for _ in TARGETS)
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
            engine.backward(losses, observed)  # the heads too: their losses reach them
            optimizer.step()
    seconds = (time.perf_counter() - start) / len(observed.worse)

    with torch.no_grad():
        r2 = 1 - (predict(test_x) - test_y).square().mean(0) / test_y.var(0, correction=0)
    return r2, torch.stack(observed.worse).mean(), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="One objective for each car and target.")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind (default: 3)")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of a run (default: 15)")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # the network is small: a second thread only waits
    for name, weighting in (("mean", MeanWeighting()), ("UPGrad", UPGradWeighting())):
        runs = [train(weighting, seed, arguments.epochs) for seed in range(arguments.seeds)]
        r2 = torch.stack([run[0] for run in runs])
        worse = torch.stack([run[1] for run in runs]).mean()
        step = sum(run[2] for run in runs) / len(runs)
        print(
            f"{name}: a step makes {100 * worse:.1f} % of the 64 losses worse, to first order, "
            f"and takes {1e3 * step:.2f} ms"
        )
        for target, values in zip(TARGETS, r2.T, strict=True):
            print(f"  R² of {target}: {values.mean():.3f} ± {values.std(correction=0):.3f}")


if __name__ == "__main__":
    main()
