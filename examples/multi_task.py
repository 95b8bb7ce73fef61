"""Two tasks share a trunk: to tell which digit an image shows, and whether it is odd.

The data are 1797 images of handwritten digits (shipped with scikit-learn). The trunk's parameters
serve both tasks, so that their gradients may conflict: ``mtl_backward`` gives these parameters a
Jacobian, and ``jac_to_grad`` turns it into one gradient. A head serves its own task alone, and has
an ordinary gradient after ``mtl_backward``.

    python examples/multi_task.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim import SGD

from torchjd.aggregation import Aggregator, Mean, UPGrad
from torchjd.autojac import jac_to_grad, mtl_backward

torch.set_num_threads(1)  # the network is small: a second thread only waits

data = load_digits()
images = torch.tensor(data.data, dtype=torch.float32) / 16
digits = torch.tensor(data.target)
odd = (digits % 2).float()


def train(aggregator: Aggregator, epochs: int = 10) -> None:
    """Train on both tasks, and print the accuracy on images that were not seen."""
    torch.manual_seed(0)
    train_rows, test_rows = torch.randperm(len(digits)).split([1200, len(digits) - 1200])
    trunk = nn.Sequential(nn.Linear(64, 16), nn.ReLU())
    digit_head, odd_head = nn.Linear(16, 10), nn.Linear(16, 1)
    params = [*trunk.parameters(), *digit_head.parameters(), *odd_head.parameters()]
    optimizer = SGD(params, lr=0.1)

    weights = []
    for _ in range(epochs):
        for batch in train_rows[torch.randperm(1200)].split(60):
            features = trunk(images[batch])
            digit_loss = cross_entropy(digit_head(features), digits[batch])
            odd_logits = odd_head(features).squeeze(dim=1)
            odd_loss = binary_cross_entropy_with_logits(odd_logits, odd[batch])

            optimizer.zero_grad()
            mtl_backward([digit_loss, odd_loss], features)
            weights.append(jac_to_grad(trunk.parameters(), aggregator))
            optimizer.step()

    with torch.no_grad():
        features = trunk(images[test_rows])
        right = digit_head(features).argmax(dim=1) == digits[test_rows]
        right_odd = (odd_head(features).squeeze(dim=1) > 0) == (odd[test_rows] == 1)
    print(
        f"{aggregator}: {100 * right.float().mean():.1f} % of the digits are right, "
        f"{100 * right_odd.float().mean():.1f} % of odd or even"
    )
    # UPGrad weighs a gradient by more than 1/2 where it had to be projected away from a conflict.
    conflicts = (torch.stack(weights) > 0.5 + 1e-6).any(dim=1).float().mean()
    print(f"  it changed the weights of the mean in {100 * conflicts:.1f} % of the steps")


def main() -> None:
    for aggregator in (Mean(), UPGrad()):
        train(aggregator)


if __name__ == "__main__":
    main()
