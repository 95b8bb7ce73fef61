"""Instance-wise risk minimisation: every image of a batch is an objective of its own.

The data are 1797 images of handwritten digits (shipped with scikit-learn). The loss is not reduced
over the batch: there are 16 losses, and UPGrad looks for a step that makes no image of the batch
worse. It needs only the Gramian of their gradients, which the engine computes beside one backward
pass; the 16 gradients themselves are never formed. The weights of UPGrad sum to more than one, so
that part of what it gains is a longer step: the mean is therefore also run with a larger learning
rate. Losses and accuracies, and the time of the steps, are measured by the run.

    python examples/instance_wise.py
"""

import time

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from torchjd.aggregation import UPGradWeighting
from torchjd.autogram import Engine

torch.set_num_threads(1)  # the network is small: a second thread only waits

data = load_digits()
images = torch.tensor(data.data, dtype=torch.float32) / 16
digits = torch.tensor(data.target)


def train(name: str, weighting: UPGradWeighting | None, lr: float, epochs: int = 4) -> float:
    """Train with one loss per image, print how it goes, and return the training loss.

    :param weighting: How to weigh the images of a batch; None to descend their mean.
    """
    torch.manual_seed(0)
    train_rows, test_rows = torch.randperm(len(digits)).split([1200, len(digits) - 1200])
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    engine = Engine(model, batch_dim=0)
    optimizer = SGD(model.parameters(), lr=lr)
    print(f"{name}, learning rate {lr}")

    for epoch in range(epochs):
        sums = []
        start = time.perf_counter()
        for batch in train_rows[torch.randperm(1200)].split(16):
            losses = cross_entropy(model(images[batch]), digits[batch], reduction="none")
            optimizer.zero_grad()
            if weighting is None:
                losses.mean().backward()
                sums.append(torch.tensor(1.0))
            else:
                sums.append(engine.backward(losses, weighting).sum())
            optimizer.step()
        step = (time.perf_counter() - start) / len(sums)

        with torch.no_grad():
            loss = cross_entropy(model(images[train_rows]), digits[train_rows])
            right = model(images[test_rows]).argmax(dim=1) == digits[test_rows]
        print(
            f"  epoch {epoch + 1}: training loss {loss:.3f}, "
            f"{100 * right.float().mean():.1f} % of the test images right, "
            f"weights sum to {torch.stack(sums).mean():.2f}, {1e3 * step:.2f} ms a step"
        )
    return loss.item()


def main() -> None:
    final = {}
    for name, weighting, lr in (
        ("mean", None, 0.1),
        ("mean", None, 0.5),
        ("UPGrad", UPGradWeighting(), 0.1),
    ):
        final[f"{name} with learning rate {lr}"] = train(name, weighting, lr)
    print(f"The lowest training loss at the end is that of {min(final, key=final.__getitem__)}.")


if __name__ == "__main__":
    main()
