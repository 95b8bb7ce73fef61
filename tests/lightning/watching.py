"""What the tests of the conflict monitor share: modules, a logger, and a fit."""

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers.logger import Logger
from torch import nn

from jd_lightning import ConflictMonitor, JDModule
from torchjd.aggregation import GramianWeightedAggregator
from torchjd.autojac import jac_to_grad, mtl_backward

from .nets import InverseNorm, TwoTasks, loader


class Notebook(Logger):
    """A logger like any other: it keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.pages = []

    name = version = "notebook"

    def log_metrics(self, metrics, step=None):
        found = {key: value for key, value in metrics.items() if key.startswith("jd/")}
        if found:
            self.pages.append((step, found))

    def log_hyperparams(self, params, *args, **kwargs):
        pass

    @property
    def steps(self):
        return [step for step, _ in self.pages]


def watch(trainer, net, data=None, *, validation=None, monitor=None, **options):
    """Fit a net under a monitor that draws nothing; return what was logged, by step."""
    notebook = Notebook()
    monitor = monitor or ConflictMonitor(1, heatmap_every_n_epochs=None)
    made = trainer(callbacks=[monitor], logger=notebook, **{"log_every_n_steps": 1, **options})
    made.fit(net, loader(data), validation)
    return notebook


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key


def jacobian(losses, parameters):
    rows = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


class Many(JDModule):
    """As many objectives as asked for."""

    def __init__(self, count):
        super().__init__()
        self.layer, self.count = nn.Linear(3, 4), count
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(count))

    def configure_aggregator(self):
        return GramianWeightedAggregator(InverseNorm())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch, batch_idx):
        features = self.layer(batch[0])
        return self.objectives([head(features).square().mean() for head in self.heads])


class Samples(JDModule):
    """Each sample is an objective."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def configure_aggregator(self):
        return InverseNorm()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch, batch_idx):
        return self.objectives((self.layer(batch[0]) - batch[1]).square()[:, 0])


class ByHand(LightningModule):
    """Manual optimisation, with the functions of the core, in a module of Lightning's own."""

    def __init__(self, aggregator):
        super().__init__()
        self.automatic_optimization = False
        self.net, self.aggregator = TwoTasks(), aggregator

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        losses, features = self.net.losses(batch)
        self.optimizers().zero_grad()
        mtl_backward(losses, features)
        jac_to_grad(self.net.trunk.parameters(), self.aggregator)
        self.optimizers().step()
