"""Several tasks with a common trunk, as they are trained in mixed precision on a CPU."""

import torch
from torch import nn

import jd_amp
import torchjd.autojac

M = 3


class Tasks(nn.Module):
    """A trunk, and a head for each of ``M`` tasks.

    :param halves: Whether the model computes in float16, its parameters staying in float32.
    """

    def __init__(self, *, halves=True):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(0)
            self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh())
            self.heads = nn.ModuleList([nn.Linear(6, 1) for _ in range(M)])
        self.dtype = torch.float16 if halves else None

    def forward(self, inputs):
        """Return the losses of the tasks and the features."""
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype is not None):
            features = self.trunk(inputs)
            outputs = [head(features) for head in self.heads]
        targets = targets_of(inputs)
        losses = [(y.float() - t).square().mean() for y, t in zip(outputs, targets, strict=True)]
        return losses, features

    def shared(self):
        return list(self.trunk.parameters())

    def copies(self):
        return [parameter.detach().clone() for parameter in self.parameters()]


def batch(step, size=8):
    return torch.randn(size, 4, generator=torch.Generator().manual_seed(step))


def targets_of(inputs):
    total = inputs.sum(dim=1, keepdim=True)
    return [total, total.sin() + 0.5, -inputs[:, :1]]


def stock(**settings):
    return torch.amp.GradScaler("cpu", **{"init_scale": 1024.0, **settings})


def jacobian(**settings):
    return jd_amp.JacobianScaler("cpu", **{"init_scale": 1024.0, **settings})


SCALERS = {"stock": stock, "jacobian": jacobian}


def in_use(scaler, device="cpu"):
    """Return ``scaler`` after it has scaled something, for tests that write what it had scaled."""
    if type(scaler) is torch.amp.GradScaler:
        scaler.scale(torch.ones((), device=device))
    return scaler


def differentiate(scaler, losses, features=None):
    """Call ``mtl_backward``, the way that belongs to the scaler, or to None."""
    if isinstance(scaler, jd_amp.JacobianScaler):
        scaler.mtl_backward(losses, features)
    else:
        scaled = losses if scaler is None else [scaler.scale(loss) for loss in losses]
        torchjd.autojac.mtl_backward(scaled, features)


def aggregate(scaler, aggregator, params, losses):
    """Call ``jac_to_grad`` with what the aggregator needs."""
    return jd_amp.jac_to_grad(
        params,
        aggregator,
        scaler=scaler,
        losses=torch.stack(losses).detach() if aggregator.needs_losses else None,
        cross_gramian=torch.eye(len(losses)) if aggregator.needs == "cross gramian" else None,
    )


def step(scaler, model, optimizer, aggregator, inputs, factors=(1.0,) * M):
    """Take one step; the losses are multiplied by ``factors``."""
    losses, features = model(inputs)
    optimizer.zero_grad()
    differentiate(scaler, [f * loss for f, loss in zip(factors, losses, strict=True)], features)
    aggregate(scaler, aggregator, model.shared(), losses)
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()


def same(ones, others):
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))
