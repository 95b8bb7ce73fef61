"""Jacobian descent in Lightning, by automatic optimisation.

The data are 392 cars (Auto MPG, shipped with mlxtend): from the rest of what is known of a car, one
network predicts its mileage and its acceleration. The training step returns both losses by
``objectives``; the Trainer accumulates, clips, schedules and shows the progress, as for one loss. A
callback adds to the progress bar how often the two gradients conflict.

    python examples/lightning_automatic.py
"""

import logging
import warnings

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning_manual import load_cars
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from jd_lightning import ConflictMonitor, JDModule
from torchjd.aggregation import UPGrad


class Cars(JDModule):
    """Two regressions on a shared trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3), nn.Tanh())
        self.mileage = nn.Linear(3, 1)
        self.acceleration = nn.Linear(3, 1)

    def configure_aggregator(self) -> UPGrad:
        """Return what combines the two objectives."""
        return UPGrad()

    def losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """Return the loss of each task."""
        inputs, mpg, acceleration = batch
        features = self.trunk(inputs)
        return {
            "mileage": mse_loss(self.mileage(features), mpg),
            "acceleration": mse_loss(self.acceleration(features), acceleration),
        }

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """Descend both losses."""
        losses = self.losses(batch)
        self.log_dict(losses, prog_bar=True)
        return self.objectives(losses)

    def configure_optimizers(self) -> tuple[list[SGD], list[CosineAnnealingLR]]:
        """Return gradient descent, at a rate that falls from epoch to epoch."""
        optimizer = SGD(self.parameters(), lr=0.2)
        return [optimizer], [CosineAnnealingLR(optimizer, T_max=20)]


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # Lightning 2.6 itself calls what torch 2.13 deprecates; and it wants workers for small data.
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    torch.set_num_threads(1)  # the network is small: a second thread only waits
    torch.manual_seed(0)
    cars, model = load_cars(), Cars()

    with torch.no_grad():
        before = model.losses(list(cars.tensors))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=20,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        callbacks=[
            TQDMProgressBar(refresh_rate=4),
            ConflictMonitor(heatmap_every_n_epochs=None),
        ],
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=False,
    )
    trainer.fit(model, DataLoader(cars, batch_size=49, shuffle=True))
    with torch.no_grad():
        after = model.losses(list(cars.tensors))

    for name, first in before.items():
        print(f"the loss of {name:12} goes from {first:.3f} to {after[name]:.3f}")


if __name__ == "__main__":
    main()
