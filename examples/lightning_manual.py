"""Jacobian descent in Lightning, by manual optimisation.

The data are 392 cars (Auto MPG, shipped with mlxtend): from the rest of what is known of a car, one
network predicts its mileage and its acceleration. With ``automatic_optimization`` off, the training
step makes the calls itself: ``mtl_backward``, ``jac_to_grad``, and the optimizer's step.

    python examples/lightning_manual.py
"""

import logging
import warnings

import torch
from lightning import LightningModule, Trainer
from mlxtend.data import autompg_data
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from torchjd.aggregation import UPGrad
from torchjd.autojac import jac_to_grad, mtl_backward


class Cars(LightningModule):
    """Two regressions on a shared trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.aggregator = UPGrad()
        self.trunk = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3), nn.Tanh())
        self.mileage = nn.Linear(3, 1)
        self.acceleration = nn.Linear(3, 1)

    def losses(self, features: Tensor, mpg: Tensor, acceleration: Tensor) -> list[Tensor]:
        """Return the loss of each task."""
        return [
            mse_loss(self.mileage(features), mpg),
            mse_loss(self.acceleration(features), acceleration),
        ]

    def training_step(self, batch: list[Tensor]) -> None:
        """Descend both losses."""
        inputs, mpg, acceleration = batch
        features = self.trunk(inputs)
        optimizer = self.optimizers()
        optimizer.zero_grad()
        mtl_backward(losses=self.losses(features, mpg, acceleration), features=features)
        jac_to_grad(self.trunk.parameters(), self.aggregator)
        optimizer.step()

    def configure_optimizers(self) -> Optimizer:
        """Return plain gradient descent."""
        return SGD(self.parameters(), lr=0.1)


def load_cars() -> TensorDataset:
    """Return inputs of shape ``[392, 6]``, mileages and accelerations of shape ``[392, 1]``."""
    columns, mpg = autompg_data()
    table = torch.tensor(columns[:, :7], dtype=torch.float32)
    table = torch.cat([table, torch.tensor(mpg, dtype=torch.float32)[:, None]], dim=1)
    table = (table - table.mean(dim=0)) / table.std(dim=0)
    return TensorDataset(table[:, [0, 1, 2, 3, 5, 6]], table[:, [7]], table[:, [4]])


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # Lightning 2.6 itself calls what torch 2.13 deprecates.
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
    torch.set_num_threads(1)  # the network is small: a second thread only waits
    torch.manual_seed(0)
    cars, model = load_cars(), Cars()
    inputs, *targets = cars.tensors

    with torch.no_grad():
        before = model.losses(model.trunk(inputs), *targets)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=20,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
    )
    trainer.fit(model, DataLoader(cars, batch_size=98, shuffle=True))
    with torch.no_grad():
        after = model.losses(model.trunk(inputs), *targets)

    for name, first, last in zip(("mileage", "acceleration"), before, after, strict=True):
        print(f"the loss of {name:12} goes from {first:.3f} to {last:.3f}")


if __name__ == "__main__":
    main()
