"""Small modules, methods and batches, and the loop that Lightning's is compared with."""

import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader

from jd_lightning import JDModule
from torchjd.aggregation import (
    Aggregator,
    GramianWeightedAggregator,
    GramianWeighting,
    MatrixWeighting,
    WeightedAggregator,
)
from torchjd.autojac import jac_to_grad, mtl_backward


class Even(GramianWeighting):
    """The mean of the rows."""

    def forward(self, gramian, /):
        return gramian.new_full((len(gramian),), 1 / len(gramian))


class MinNorm(GramianWeighting):
    """The shortest vector between two rows."""

    def forward(self, gramian, /):
        (aa, ab), (_, bb) = gramian
        first = ((bb - ab) / (aa - 2 * ab + bb).clamp(min=1e-30)).clamp(0, 1)
        return torch.stack([first, 1 - first])


class InverseNorm(GramianWeighting):
    """The sum of the rows at unit length, for any number of them."""

    def forward(self, gramian, /):
        return gramian.diagonal().clamp(min=1e-30).rsqrt()


class ByLoss(MatrixWeighting):
    """The larger the loss, the larger the weight."""

    needs_losses = True

    def forward(self, matrix, /, *, losses):
        self.seen = losses
        return losses / losses.sum()


class Remembering(Aggregator):
    """The mean of the rows, over a length that it remembers: its buffers decide where it goes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scale", torch.zeros(()))

    def forward(self, matrix, /):
        self.calls += 1
        self.scale += 0.5 * (matrix.norm() - self.scale)
        return matrix.mean(dim=0) / (1 + self.scale)


def min_norm():
    return GramianWeightedAggregator(MinNorm())


def even():
    return GramianWeightedAggregator(Even())


def by_loss():
    return WeightedAggregator(ByLoss())


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.5)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


class TwoTasks(JDModule):
    """Two regressions on a trunk."""

    def __init__(self, aggregator=min_norm, optimizer=sgd, features=False, scheduler=None):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh())
        self.heads = nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 1)])
        self.make_aggregator, self.make_optimizer = aggregator, optimizer
        self.make_scheduler, self.with_features = scheduler, features

    def configure_aggregator(self):
        return self.make_aggregator()

    def configure_optimizers(self):
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        scheduler = self.make_scheduler(optimizer)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def losses(self, batch):
        inputs, *targets = batch
        features = self.trunk(inputs)
        losses = [mse_loss(h(features), t) for h, t in zip(self.heads, targets, strict=True)]
        return losses, features

    def training_step(self, batch, batch_idx):
        (first, second), features = self.losses(batch)
        named = {"first": first, "second": second}
        return self.objectives(named, features=features if self.with_features else None)


def batches(count=6, size=4):
    generator = torch.Generator().manual_seed(1)
    draws = [torch.randn(count, size, n, generator=generator) for n in (3, 1, 1)]
    return [[x, y.sin(), 3 * z + 1] for x, y, z in zip(*draws, strict=True)]


def loader(data=None):
    return DataLoader(batches() if data is None else data, batch_size=None)


def sum_by_hand(net):
    """Train on the sum of the losses: plain gradient descent."""
    optimizer = net.make_optimizer(net.parameters())
    for batch in batches():
        optimizer.zero_grad()
        sum(net.losses(batch)[0]).backward()
        optimizer.step()
    return net


def without_first_layer(net):
    """Have the optimizer leave out the first layer of the trunk."""
    kept = [*net.trunk[2].parameters(), *net.heads.parameters()]
    net.configure_optimizers = lambda: net.make_optimizer(kept)
    return net


def weights(net):
    """Return the parameters of the network, without those of an aggregator."""
    return [p.detach().clone() for p in (*net.trunk.parameters(), *net.heads.parameters())]


def assert_same(net, expected):
    for got, wanted in zip(weights(net), weights(expected), strict=True):
        assert torch.equal(got, wanted)


def assert_moved(net):
    for got, before in zip(weights(net), weights(type(net)()), strict=True):
        assert not torch.equal(got, before)


def largest_difference(net, expected):
    pairs = zip(weights(net), weights(expected), strict=True)
    return max(float((got - wanted).abs().max()) for got, wanted in pairs)


def by_hand(net, data, *, epochs=1, accumulate=1, clip=None, weight=1.0):
    """Train ``net`` as a user of the core would, without Lightning."""
    parameters = [*net.trunk.parameters(), *net.heads.parameters()]
    optimizer, aggregator = net.make_optimizer(parameters), net.make_aggregator()
    scheduler = net.make_scheduler(optimizer) if net.make_scheduler else None
    for _ in range(epochs):
        for i, batch in enumerate(data):
            losses, features = net.losses(batch)
            scale = [torch.tensor(weight / accumulate)] * 2
            mtl_backward(losses, features, grad_tensors=scale)
            if (i + 1) % accumulate and i + 1 < len(data):
                continue
            jac_to_grad(net.trunk.parameters(), aggregator)
            if clip is not None:
                clip(parameters)
            optimizer.step()
            optimizer.zero_grad()
            if scheduler is not None:
                scheduler.step()
    return net
