"""The models whose Gramians are measured: none of them normalises over the samples of a batch."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

CLASSES = 10
VOCABULARY = 1000
_GROUPS = 8


class MultiTask(nn.Module):
    """A shared encoder, and one linear head for each task, of one output.

    :param width: Of the input.
    :param hidden: Of the two hidden layers.
    :param tasks: How many heads.
    """

    def __init__(self, width: int, hidden: int, tasks: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.heads = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(tasks))

    def forward(self, x: Tensor) -> Tensor:
        """Return one prediction a sample and task."""
        features = self.encoder(x)
        return torch.cat([head(features) for head in self.heads], dim=1)


def convolutional(*channels: int) -> nn.Module:
    """Return stages of convolution, GroupNorm and pooling, and a linear classifier."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(channels):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.GroupNorm(_GROUPS, fan_out)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], CLASSES))
    return nn.Sequential(*layers, *head)


class _Residual(nn.Module):
    """Two convolutions of 3 x 3, beside the identity or, where shapes change, one of 1 x 1."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(_GROUPS, fan_out)
        self.second = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(_GROUPS, fan_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or fan_in != fan_out:
            self.shortcut.append(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False))
            self.shortcut.append(nn.GroupNorm(_GROUPS, fan_out))

    def forward(self, x: Tensor) -> Tensor:
        inner = relu(self.first_norm(self.first(x)))
        return relu(self.second_norm(self.second(inner)) + self.shortcut(x))


class ResNet18(nn.Module):
    """A residual network of 18 layers for images of 32 x 32, with GroupNorm for BatchNorm.

    :param width: The channels of the first stage; each later one has twice those before it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, width), nn.ReLU()
        )
        self.blocks = nn.Sequential(_Residual(width, width, 1), _Residual(width, width, 1))
        for fan_out in (2 * width, 4 * width, 8 * width):
            self.blocks.append(_Residual(fan_out // 2, fan_out, 2))
            self.blocks.append(_Residual(fan_out, fan_out, 1))
        self.head = nn.Linear(8 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return one row of logits an image."""
        logits: Tensor = self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))
        return logits


class _Positions(nn.Module):
    """Adds a learnt vector to each position."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(1, length, width))

    def forward(self, x: Tensor) -> Tensor:
        table, length = self.table, x.shape[1]
        # A sequence of full length adds the parameter itself: not every engine knows of views.
        return x + (table if length == table.shape[1] else table[:, :length])


class Transformer(nn.Module):
    """A transformer encoder on tokens; the mean over positions is classified.

    :param width: Of the embedding.
    :param heads: Of each layer's attention.
    :param hidden: Of each layer's feed-forward part.
    :param layers: How many.
    :param length: The most tokens of a sequence.
    """

    def __init__(self, width: int, heads: int, hidden: int, layers: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.positions = _Positions(length, width)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, batch_first=True)
                for _ in range(layers)
            )
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one row of logits a sequence."""
        states = self.layers(self.positions(self.embedding(tokens)))
        logits: Tensor = self.head(states.mean(dim=1))
        return logits


class Recurrent(nn.Module):
    """An LSTM on tokens; its last state is classified.

    :param width: Of the embedding.
    :param hidden: Of the state.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one row of logits a sequence."""
        states, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.head(states[:, -1])
        return logits
