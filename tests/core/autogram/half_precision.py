"""Layers and small models that are run in half precision, and how near two computations come."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

HALVES = [torch.float16, torch.bfloat16]

ROUNDINGS = 2
"""How many times autograd rounds a row that the engine does not, at most: as a gradient of the
converted weight, and as the sum of its uses."""

_SMALLEST = {torch.float16: 2.0**-24, torch.bfloat16: 2.0**-133}


def rounding(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return how far each of ``rows`` may be from where it would be, were it not rounded.

    Relative to its length, half of the machine's epsilon a rounding; and for each entry, half of
    the smallest number there is, below which it is lost.
    """
    flat = rows.reshape(len(rows), -1).double()
    lost = 0.5 * _SMALLEST[dtype] * flat.shape[1] ** 0.5
    return ROUNDINGS * (0.5 * torch.finfo(dtype).eps * flat.norm(dim=1) + lost)


def gramian_rounding(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return how far each entry of the Gramian of ``rows`` may be off, if these are rounded."""
    norm = rows.reshape(len(rows), -1).double().norm(dim=1)
    error = rounding(rows, dtype)
    return torch.outer(error, norm) + torch.outer(norm, error) + torch.outer(error, error)


class Case(NamedTuple):
    """A model and its input, the same at each call."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    training: bool = True

    def model(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """Build the model, with statistics and gains that are not those it starts with."""
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(0)
            model = self.build().train(self.training)
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._NormBase) and not self.training:
                    module.running_mean.normal_(0.0, 0.3)
                    module.running_var.uniform_(0.5, 2.0)
                if isinstance(module, NORMALISATIONS):
                    for p in module.parameters(recurse=False):
                        nn.init.uniform_(p, 0.5, 1.5)
        return model.to(dtype)

    def given(self) -> Tensor:
        return wave(*self.shape) + 0.25


NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def wave(*shape: int) -> Tensor:
    """Return numbers without a pattern that a normalisation or a sum would take away."""
    count = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float32)
    return (count * 1.7).sin().view(shape)


B = 5
ROWS, SEQUENCES, SIGNAL = (B, 4), (B, 3, 4), (B, 2, 6)
IMAGE, VOLUME = (B, 2, 4, 4), (B, 1, 3, 3, 3)


def after(first: Callable[[], nn.Module], norm: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Return what builds a normalisation behind a layer, and a nonlinearity behind that."""
    return lambda: nn.Sequential(first(), norm(), nn.Tanh())


def linear(norm: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return after(lambda: nn.Linear(4, 6), norm)


def conv(norm: Callable[[], nn.Module], dims: int = 2) -> Callable[[], nn.Module]:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    return after(lambda: kind(1 if dims == 3 else 2, 4, 3, padding=1), norm)


BATCHES = {
    "batch norm 1d": (linear, nn.BatchNorm1d, 6, ROWS),
    "batch norm 1d of signals": (lambda norm: conv(norm, 1), nn.BatchNorm1d, 4, SIGNAL),
    "batch norm 2d": (conv, nn.BatchNorm2d, 4, IMAGE),
    "batch norm 3d": (lambda norm: conv(norm, 3), nn.BatchNorm3d, 4, VOLUME),
}


def batch_norm(name: str, affine: bool, training: bool) -> Case:
    behind, kind, size, shape = BATCHES[name]
    full = f"{name}{'' if affine else ', not affine'}{'' if training else ', eval'}"
    return Case(full, behind(lambda: kind(size, affine=affine)), shape, training)


NORMS = [
    *(
        batch_norm(name, affine, training)
        for name in BATCHES
        for affine in (True, False)
        for training in (True, False)
    ),
    Case("layer norm", linear(lambda: nn.LayerNorm(6)), ROWS),
    Case("layer norm without bias", linear(lambda: nn.LayerNorm(6, bias=False)), ROWS),
    Case("layer norm, not affine", linear(lambda: nn.LayerNorm(6, elementwise_affine=False)), ROWS),
    Case("layer norm of sequences", linear(lambda: nn.LayerNorm(6)), SEQUENCES),
    Case("layer norm of two dimensions", linear(lambda: nn.LayerNorm((3, 6))), SEQUENCES),
    Case(
        "layer norm of two dimensions without bias",
        linear(lambda: nn.LayerNorm((3, 6), bias=False)),
        SEQUENCES,
    ),
    Case("group norm of rows", linear(lambda: nn.GroupNorm(2, 6)), ROWS),
    Case("group norm of signals", conv(lambda: nn.GroupNorm(2, 4), 1), SIGNAL),
    Case("group norm of images", conv(lambda: nn.GroupNorm(2, 4)), IMAGE),
    Case("group norm of images, not affine", conv(lambda: nn.GroupNorm(2, 4, affine=False)), IMAGE),
    Case("instance norm 1d", conv(lambda: nn.InstanceNorm1d(4, affine=True), 1), SIGNAL),
    Case("instance norm 2d", conv(lambda: nn.InstanceNorm2d(4, affine=True)), IMAGE),
    Case("instance norm 2d, not affine", conv(lambda: nn.InstanceNorm2d(4)), IMAGE),
    Case("instance norm 3d", conv(lambda: nn.InstanceNorm3d(4, affine=True), 3), VOLUME),
    Case(
        "instance norm that tracks, eval",
        conv(lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        IMAGE,
        training=False,
    ),
    Case("rms norm", linear(lambda: nn.RMSNorm(6)), ROWS),
    Case("rms norm of sequences", linear(lambda: nn.RMSNorm(6)), SEQUENCES),
    Case("rms norm of two dimensions", linear(lambda: nn.RMSNorm((3, 6))), SEQUENCES),
    Case("rms norm, not affine", linear(lambda: nn.RMSNorm(6, elementwise_affine=False)), ROWS),
]


def conv_stack(norm: Callable[[int], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1, bias=False), norm(4), nn.ReLU()),
        *(nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), norm(6), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
    )


class Transformer(nn.Module):
    """A block that normalises first, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(4), nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.block = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, h: Tensor) -> Tensor:
        n = self.first(h)
        h = h + self.attention(n, n, n, need_weights=False)[0]
        h = h + self.block(self.second(h))
        return self.head(h.mean(1))


def mlp() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU()),
        *(nn.Linear(6, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)),
    )


class Twice(nn.Module):
    """Layers used twice: autocast converts each weight once for both, if it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)

    def forward(self, h: Tensor) -> Tensor:
        for _ in range(2):
            h = self.norm(self.layer(h)).tanh()
        return h


class Reparametrised(nn.Module):
    """Weights that are functions of parameters, computed under autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.first = weight_norm(nn.Linear(4, 6))
        self.norm, self.last = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, h: Tensor) -> Tensor:
        h = self.norm(self.first(h)).relu()
        return F.linear(h, self.last.weight * self.last.weight.sigmoid(), self.last.bias)


class Island(nn.Module):
    """A region in float32, within one of half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, h: Tensor) -> Tensor:
        h = self.first(h)
        with torch.autocast("cpu", enabled=False):
            h = F.linear(self.norm(h.float()), self.first.weight.T, None).tanh()
        return self.last(F.pad(h, (0, 2)))


MODELS = [
    Case("conv stack, batch norm", conv_stack(nn.BatchNorm2d), IMAGE),
    Case("conv stack, batch norm in eval", conv_stack(nn.BatchNorm2d), IMAGE, training=False),
    Case("conv stack, group norm", conv_stack(lambda n: nn.GroupNorm(2, n)), IMAGE),
    Case("transformer", Transformer, SEQUENCES),
    Case("mlp", mlp, ROWS),
    Case("twice", Twice, ROWS),
    Case("reparametrised", Reparametrised, ROWS),
    Case("island", Island, ROWS),
]


def error(output: Tensor) -> Tensor:
    """Return the squared error of each entry, of shape ``[samples, entries]``."""
    flat = output.reshape(len(output), -1)
    return (flat - 1.5 * wave(*flat.shape).to(flat)).square()


def by_sample(output: Tensor) -> Tensor:
    return error(output).mean(1)


def by_task(output: Tensor) -> Tensor:
    """Return a loss for each sample and each of two tasks."""
    found = error(output)
    return torch.stack([found[:, ::2].mean(1), found[:, 1::2].sum(1)], dim=1)


def averaged(output: Tensor) -> Tensor:
    """Return two losses that are averages over samples."""
    return by_task(output).mean(0)


class Setting(NamedTuple):
    """How a model is run under autocast.

    :ivar name: Its name.
    :ivar loss: From the output of the model to the losses.
    :ivar loss_within: Whether the losses are computed under autocast too.
    :ivar wide: Whether the output is converted to float32 first.
    :ivar checkpointed: Whether the model is computed anew in the backward pass.
    :ivar cached: Whether autocast remembers what it converted.
    """

    name: str
    loss: Callable[[Tensor], Tensor] = by_sample
    loss_within: bool = False
    wide: bool = True
    checkpointed: bool = False
    cached: bool = True

    def losses(self, model: nn.Module, given: Tensor, dtype: torch.dtype) -> Tensor:
        with autocast(dtype, self.cached):
            if self.checkpointed:
                output: Tensor = checkpoint(model, given, use_reentrant=False)
            else:
                output = model(given)
            output = output.float() if self.wide else output.to(dtype)
            if self.loss_within:
                return self.loss(output)
        return self.loss(output)


def autocast(dtype: torch.dtype, cached: bool = True) -> AbstractContextManager[None]:
    return torch.autocast("cpu", dtype=dtype, cache_enabled=cached)


PLAIN = Setting("plain")
SETTINGS = [
    Setting("loss within", loss_within=True),
    Setting("loss of half precision", wide=False),
    Setting("loss of half precision, within", loss_within=True, wide=False),
    Setting("checkpointed", checkpointed=True),
    Setting("checkpointed, not cached", checkpointed=True, cached=False),
    Setting("not cached", cached=False),
    Setting("by task", by_task),
    Setting("by task, half precision", by_task, wide=False),
    Setting("by task, checkpointed", by_task, checkpointed=True),
    Setting("averaged", averaged),
    Setting("averaged, within", averaged, loss_within=True, wide=False),
]


def same(case: Case | Setting) -> str:
    """Return the name, as the table's own."""
    return case.name
