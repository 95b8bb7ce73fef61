"""Compute Gramians of custom functions; print as JSON how they were served, and how far off.

The argument says of which: those of ``low-rank-adapter`` or of ``odd-rules``.
"""

import json
import sys

import torch
from torch import nn

from torchjd.autogram import Engine

# shape of the inputs, losses a sample, dimension of the samples
ADAPTED = {
    "vectors": ((7, 6), 1, 0),
    "sequences": ((7, 3, 6), 1, 0),
    "weights trained too": ((7, 3, 6), 1, 0),
    "several losses a sample": ((5, 3, 6), 4, 0),
    "sequences, time first": ((3, 7, 6), 1, 1),
    "sequences, merged with samples": ((7, 3, 6), 1, 0),
    "a loss for each output": ((7, 6), 1, 1),
}


class Affine(nn.Module):
    """Two layers of an affine function of ``odd-rules``."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x):
        hidden = self.function.apply(x, self.first.weight, self.first.bias).tanh()
        return self.function.apply(hidden, self.second.weight, self.second.bias)


def adapted(name):
    """Return a model with adapters, the second of them used twice, and losses of it."""
    from low_rank_adapter import AdaptedLinear

    shape, tasks, dim = ADAPTED[name]
    layers = [AdaptedLinear(nn.Linear(6, 5), rank=2, scale=0.5), nn.Tanh()]
    if name != "a loss for each output":
        shared = AdaptedLinear(nn.Linear(5, 5), rank=2)
        layers += [shared, nn.Tanh(), shared]
    model = nn.Sequential(*layers).double()
    for layer in model[::2]:
        nn.init.normal_(layer.up)
        layer.weight.requires_grad_(name == "weights trained too")
    x = torch.randn(shape, dtype=torch.float64)
    if name == "sequences, merged with samples":
        out = model(x.flatten(0, 1)).unflatten(0, shape[:2])
    else:
        out = model(x)
    out = out.movedim(dim, 0)
    targets = torch.randn(tasks, *out.shape, dtype=torch.float64)
    losses = (out - targets).square().flatten(2).sum(2).T
    return model, losses[:, 0] if tasks == 1 else losses


def odd(function):
    model = Affine(function).double()
    return model, model(torch.randn(7, 6, dtype=torch.float64)).square().sum(1)


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def measure(model, losses):
    """Return who served, and the errors of the Gramian and of `.grad`, relative to rows."""
    engine = Engine(model, mode="reuse")
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(x, parameters, retain_graph=True) for x in losses.flatten()]
    J = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    report = engine.check(losses)
    gramian = engine.compute_gramian(losses)
    shape, k = losses.shape, losses.ndim
    square = gramian.permute(*range(k), *reversed(range(k, 2 * k))).reshape(len(J), len(J))
    weights = torch.rand(shape, dtype=torch.float64)
    engine.backward(losses, lambda _: weights)
    gradient = torch.cat([p.grad.flatten() for p in parameters])
    return {
        "served": sorted({p.served_by for p in report.parameters}),
        "report": str(report),
        "errors": [relative(square, J @ J.T), relative(gradient, weights.flatten() @ J)],
        "gramian": square.tolist(),
    }


def attempt(model, losses):
    try:
        return measure(model, losses)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main(subject):
    torch.set_num_threads(1)
    seen = {}
    if subject == "low-rank-adapter":
        cases = {name: lambda name=name: adapted(name) for name in ADAPTED}
    else:
        from odd_rules import FUNCTIONS

        cases = {name: lambda f=function: odd(f) for name, function in FUNCTIONS.items()}
    for name, build in cases.items():
        torch.manual_seed(0)
        seen[name] = attempt(*build())
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
