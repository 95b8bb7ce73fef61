"""What is measured of each model: the batch, the losses of its samples, and the bounds."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import workload
from gramian_models import (
    CLASSES,
    VOCABULARY,
    MultiTask,
    Recurrent,
    ResNet18,
    Transformer,
    convolutional,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

Batch = tuple[Tensor, Tensor]
LENGTH = 64


@dataclass(frozen=True)
class Bounds:
    """The largest ratios to a plain step, on a CPU with one thread.

    :ivar time: Of time, in the default mode.
    :ivar memory: Of peak memory, in the default mode.
    :ivar stream_memory: Of peak memory, when each layer is contracted and freed; None for no bound.
    """

    time: float
    memory: float
    stream_memory: float | None = None


@dataclass(frozen=True)
class Kind:
    """How to build one model and one batch.

    :ivar text: What they are, for people.
    :ivar model: Builds the model.
    :ivar batch: Draws the inputs and the targets.
    :ivar bounds: What is to be kept.
    """

    text: str
    model: Callable[[], nn.Module]
    batch: Callable[[], Batch]
    bounds: Bounds


def vectors(size: int, width: int) -> Batch:
    """Return ``size`` Gaussian vectors, and a class for each."""
    return torch.randn(size, width), torch.randint(CLASSES, (size,))


def sequences(size: int, length: int) -> Batch:
    """Return ``size`` sequences of tokens, and a class for each."""
    return torch.randint(VOCABULARY, (size, length)), torch.randint(CLASSES, (size,))


def _images(size: int) -> Batch:
    return torch.randn(size, 3, 32, 32), torch.randint(CLASSES, (size,))


_mlp = workload.KINDS["mlp"].model

KINDS = {
    "mlp128": Kind(
        "MLP 784-1024-1024-10, batch 128",
        _mlp,
        lambda: vectors(128, 784),
        Bounds(1.3, 1.4),
    ),
    "mlp256": Kind(
        "the same, batch 256",
        _mlp,
        lambda: vectors(256, 784),
        Bounds(1.45, 1.4),
    ),
    "iwmtl": Kind(
        "a loss for each of 64 samples x 4 tasks, MLP 256-1024-1024-1 of a shared encoder",
        lambda: MultiTask(width=256, hidden=1024, tasks=4),
        lambda: (torch.randn(64, 256), torch.randn(64, 4)),
        Bounds(2.6, 2.3),
    ),
    "cnn": Kind(
        "CNN with GroupNorm, 3 stages of 32 to 128 channels, batch 32 of 32 x 32",
        lambda: convolutional(3, 32, 64, 128),
        lambda: _images(32),
        Bounds(1.7, 1.8, 1.3),
    ),
    "resnet18": Kind(
        "ResNet18 with GroupNorm, batch 16 of 32 x 32",
        lambda: ResNet18(width=64),
        lambda: _images(16),
        Bounds(1.6, 1.4, 1.1),
    ),
    "transformer": Kind(
        "transformer of 4 layers, width 256, 4 heads, hidden 1024, batch 16 of 64 positions",
        lambda: Transformer(width=256, heads=4, hidden=1024, layers=4, length=LENGTH),
        lambda: sequences(16, LENGTH),
        Bounds(1.45, 1.4, 1.1),
    ),
    "lstm": Kind(
        "LSTM 128-256, the library's own kernel, batch 32 of 32 positions",
        lambda: Recurrent(width=128, hidden=256),
        lambda: sequences(32, LENGTH // 2),
        Bounds(3.0, 2.3),
    ),
}


class Problem:
    """One model and one batch, whose values do not depend on the process.

    :param kind: A key of :data:`KINDS`.
    :param device: Where they are.
    """

    def __init__(self, kind: str, device: str) -> None:
        torch.manual_seed(0)
        self.model = KINDS[kind].model().to(device)
        self.batch = on(device, KINDS[kind].batch())
        # Not all ones: then even a backward pass that ignores its weights would look right.
        self.weights = (0.5 + torch.rand(self.batch[1].shape)).to(device)

    def losses(self, batch: Batch | None = None) -> Tensor:
        """Return the losses of a new forward pass, one a sample, or one a sample and task.

        :param batch: What to pass through the model; None for the batch of the kind.
        """
        x, targets = self.batch if batch is None else batch
        outputs = self.model(x)
        if targets.is_floating_point():
            return mse_loss(outputs, targets, reduction="none")
        return cross_entropy(outputs, targets, reduction="none")

    def clear(self) -> None:
        """Drop what the last backward pass stored."""
        for param in self.model.parameters():
            param.grad = None


def on(device: str, batch: Batch) -> Batch:
    """Return the batch on the device."""
    x, targets = batch
    return x.to(device), targets.to(device)
