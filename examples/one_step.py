"""One step of Jacobian descent: one call, where gradient descent has ``loss.backward()``.

The data are 20 men of a fitness club (Linnerud, shipped with scikit-learn). From what they do in
three exercises a small network predicts their weight, waist and pulse: three losses, which do not
all want the same. The seed is one with which that is plain to see in the first step.

    python examples/one_step.py
"""

import torch
from sklearn.datasets import load_linnerud
from torch import Tensor, nn
from torch.optim import SGD

import torchjd
from torchjd.aggregation import Aggregator, Mean, UPGrad

data = load_linnerud()
exercises = torch.tensor(data.data, dtype=torch.float32)
body = torch.tensor(data.target, dtype=torch.float32)
exercises = (exercises - exercises.mean(dim=0)) / exercises.std(dim=0)
body = (body - body.mean(dim=0)) / body.std(dim=0)


def one_step(aggregator: Aggregator) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the three losses before and after one step, and the weights of their gradients."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3))
    optimizer = SGD(model.parameters(), lr=0.3)

    losses = (model(exercises) - body).square().mean(dim=0)
    optimizer.zero_grad()
    weights = torchjd.backward(losses, model.parameters(), aggregator)
    optimizer.step()

    after = (model(exercises) - body).square().mean(dim=0)
    return losses.detach(), after.detach(), weights


def main() -> None:
    for aggregator in (Mean(), UPGrad()):
        before, after, weights = one_step(aggregator)
        print(f"{aggregator} weighs the three gradients by {weights}")
        for name, first, then in zip(data.target_names, before, after, strict=True):
            change = "falls" if then < first else "RISES"
            print(f"  the loss of {name:6} {change} from {first:.4f} to {then:.4f}")


if __name__ == "__main__":
    main()
