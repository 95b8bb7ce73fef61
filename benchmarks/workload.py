"""The models that are measured, and the losses whose Jacobian is taken."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

LossKind = Literal["parts", "targets"]
LOSS_KINDS: tuple[LossKind, ...] = get_args(LossKind)
_CLASSES = 10


class Classifier(nn.Module):
    """A transformer encoder on a sequence of vectors; the mean over positions is classified."""

    def __init__(self, width: int, heads: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, batch_first=True)
                for _ in range(layers)
            )
        )
        self.head = nn.Linear(width, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return one row of logits a sequence."""
        logits: Tensor = self.head(self.layers(x).mean(dim=1))
        return logits


def _mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Kind:
    """How to build one model and one batch.

    :ivar text: What the model is, for people.
    :ivar model: Builds the model.
    :ivar shape: The shape of the batch.
    """

    text: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]


KINDS = {
    "mlp": Kind(
        "MLP 784-1024-1024-10, batch 128",
        lambda: _mlp(784, 1024, 1024, _CLASSES),
        (128, 784),
    ),
    "transformer": Kind(
        "transformer of 2 layers, width 64, 4 heads, hidden 128, batch 32 of 32 positions",
        lambda: Classifier(width=64, heads=4, hidden=128, layers=2),
        (32, 32, 64),
    ),
    "short-transformer": Kind(
        "the same, batch 32 of 16 positions",
        lambda: Classifier(width=64, heads=4, hidden=128, layers=2),
        (32, 16, 64),
    ),
}


@dataclass(frozen=True)
class Case:
    """What is measured in one row of a table.

    :ivar kind: A key of :data:`KINDS`.
    :ivar m: How many losses.
    :ivar losses: ``"parts"``: the batch is split in m equal parts, and each loss is the mean over
        one of them. ``"targets"``: each loss is the mean over the whole batch, with labels of its
        own.
    """

    kind: str
    m: int
    losses: LossKind

    def build(self, dtype: torch.dtype = torch.float32) -> "Workload":
        """Return the model and the batch, whose values do not depend on the process or dtype.

        :raises SystemExit: If the batch cannot be split in m equal parts.
        """
        torch.manual_seed(0)
        kind = KINDS[self.kind]
        model, batch = kind.model().to(dtype), torch.randn(kind.shape).to(dtype)
        if self.losses == "parts" and batch.shape[0] % self.m:
            raise SystemExit(
                f"`m` must divide the batch of {batch.shape[0]}. Got {self.m}. "
                "Choose another, or `--losses targets`."
            )
        labels = torch.randint(_CLASSES, (self.m, batch.shape[0]))
        return Workload(model, batch, labels, self.losses)


class Workload:
    """One model, one batch and m losses.

    :param model: The model.
    :param batch: Its input.
    :param labels: A tensor of shape ``[m, len(batch)]``; parts of the batch use the first row.
    :param kind: What the losses are the means over.
    """

    def __init__(self, model: nn.Module, batch: Tensor, labels: Tensor, kind: LossKind) -> None:
        self.params = list(model.parameters())
        self._model = model
        self._batch = batch
        self._labels = labels
        self._kind = kind

    def losses(self) -> list[Tensor]:
        """Return the losses of a new forward pass."""
        logits = self._model(self._batch)
        m = len(self._labels)
        if self._kind == "targets":
            return [cross_entropy(logits, labels) for labels in self._labels]
        parts = zip(logits.chunk(m), self._labels[0].chunk(m), strict=True)
        return [cross_entropy(part, labels) for part, labels in parts]

    def clear(self) -> None:
        """Drop what backward passes stored."""
        for param in self.params:
            param.grad = None
            if hasattr(param, "jac"):
                del param.jac  # the peer does not take None for absent
