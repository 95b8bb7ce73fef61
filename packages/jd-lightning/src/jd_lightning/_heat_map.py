"""The cosines of an epoch, averaged, and the picture of them."""

import os
from importlib.util import find_spec

import torch
from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # it has no type hints
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from torchjd.monitor import Record, plot_cosines


class MeanCosines:
    """The mean of the cosines of many records of the same objectives."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sum: Tensor | None = None
        self._count: Tensor | None = None

    def add(self, record: Record) -> None:
        """Add a record; one of other objectives begins anew."""
        cosines = record.cosines
        if cosines is None:
            return
        if self._sum is None or self._count is None or record.names != self._names:
            self._names = record.names
            self._sum, self._count = torch.zeros_like(cosines), torch.zeros_like(cosines)
        # Those of a skipped step are not finite. Masked, not looked at: a GPU is not waited for.
        self._sum += cosines.nan_to_num(0.0)
        self._count += cosines.isfinite()

    def take(self) -> Record | None:
        """Return a record with the mean as its cosines, and forget it; None if there is none."""
        total, count, names = self._sum, self._count, self._names
        self._sum = self._count = None
        if total is None or count is None or not bool(count.any()):
            return None
        mean = (total / count.clamp_min(1.0)).cpu()
        # The cosines of a unit diagonal are the matrix itself.
        mean.fill_diagonal_(1.0)
        return Record(step=0, names=names, scaled_gramian=mean)


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def folder(trainer: Trainer, dirpath: str | None) -> str:
    """Return where the pictures go; to be called on all ranks, which agree on a log directory."""
    if dirpath is not None:
        return dirpath
    # Not of the logger's version where there is no logger.
    return os.path.join(trainer.log_dir or trainer.default_root_dir, "conflicts")  # noqa: PTH118 (may be a URL)


def draw(record: Record, trainer: Trainer, directory: str, prefix: str) -> None:
    """Draw the cosines of ``record`` into a file of ``directory``, and for loggers of pictures."""
    epoch = trainer.current_epoch
    figure = plot_cosines(record)
    figure.axes[0].set_title(f"Cosines of the gradients, mean of epoch {epoch}")
    files, path = url_to_fs(directory)
    files.makedirs(path, exist_ok=True)
    with files.open(f"{path}/cosines-epoch={epoch:04d}.png", "wb") as file:
        figure.savefig(file, format="png")
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(f"{prefix}/cosines", figure, trainer.global_step)
