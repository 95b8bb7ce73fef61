"""Convolutions: plain, strided, padded, dilated, grouped, transposed; networks of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, B, by_position, function, row, squared, x

SIGNAL = x(B, 4, 7)
IMAGE = x(B, 4, 5, 6)
VOLUME = x(B, 2, 3, 4, 3)


def conv(name: str, kind: type[nn.Module], *args: int, given: Tensor, **options) -> Architecture:
    return row(name, lambda: nn.Sequential(kind(*args, **options), nn.Tanh()), given)


class Residual(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(2, fan_out)
        self.second = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.last_norm = nn.GroupNorm(2, fan_out)
        self.shortcut = nn.Conv2d(fan_in, fan_out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.first(x)), inplace=True)
        return F.relu(self.last_norm(self.second(h)) + self.shortcut(x))


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, 1, 1, bias=False),
        nn.GroupNorm(2, 4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        Residual(4, 4),
        Residual(4, 6, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1),
        nn.GroupNorm(3, 6),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, B, 2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def separable() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.SiLU(), nn.Conv2d(4, 6, 1), nn.Flatten()
    )


def unet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.PixelShuffle(2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(2, 4, 3, stride=3),
        nn.PixelUnshuffle(1),
        nn.Upsample(scale_factor=2),
        nn.MaxPool2d(3, stride=2),
        nn.ConvTranspose2d(4, 2, 2, stride=2),
    )


def unbatched(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve samples one by one: no use of the weight has a dimension of samples."""
    return torch.stack([F.conv1d(sample, weight).tanh() for sample in x])


def samples_as_groups(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve all samples as groups of one: the samples are among the channels."""
    whole = F.conv1d(x.flatten(0, 1)[None], weight.repeat(len(x), 1, 1), groups=len(x))
    return whole.view(len(x), -1).tanh()


def samples_as_length(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve with samples along the length: a kernel of one does not mix them."""
    return F.conv1d(x.flatten(1).T[None], weight)[0].T.tanh()


CONV = [
    conv("conv1d", nn.Conv1d, 4, 3, 3, given=SIGNAL),
    conv("conv1d without bias", nn.Conv1d, 4, 3, 3, given=SIGNAL, bias=False),
    conv("conv1d strided and padded", nn.Conv1d, 4, 3, 3, given=SIGNAL, stride=2, padding=2),
    conv("conv1d dilated", nn.Conv1d, 4, 3, 3, given=SIGNAL, dilation=2),
    conv("conv1d grouped", nn.Conv1d, 4, 6, 3, given=SIGNAL, groups=2),
    conv("conv1d depthwise", nn.Conv1d, 4, 4, 3, given=SIGNAL, groups=4),
    conv("conv1d depthwise, two each", nn.Conv1d, 4, 8, 3, given=SIGNAL, groups=4, padding=1),
    conv("conv1d same", nn.Conv1d, 4, 3, 5, given=SIGNAL, padding="same"),
    conv("conv1d same, dilated", nn.Conv1d, 4, 3, 2, given=SIGNAL, padding="same", dilation=2),
    conv("conv1d circular", nn.Conv1d, 4, 3, 3, given=SIGNAL, padding=1, padding_mode="circular"),
    conv("conv1d of one", nn.Conv1d, 4, 3, 1, given=SIGNAL),
    conv("conv1d, all sizes one", nn.Conv1d, B, B, 1, given=x(B, B, B)),
    conv("conv1d over the whole length", nn.Conv1d, 4, 3, 7, given=SIGNAL),
    conv("conv1d leaving a rest", nn.Conv1d, 4, 3, 2, given=SIGNAL, stride=4),
    conv("conv2d", nn.Conv2d, 4, 3, 3, given=IMAGE),
    conv("conv2d without bias", nn.Conv2d, 4, 3, 3, given=IMAGE, bias=False),
    conv("conv2d strided and padded", nn.Conv2d, 4, 3, 3, given=IMAGE, stride=2, padding=1),
    conv("conv2d uneven", nn.Conv2d, 4, 3, (2, 3), given=IMAGE, stride=(2, 1), padding=(0, 2)),
    conv("conv2d dilated", nn.Conv2d, 4, 3, 2, given=IMAGE, dilation=(2, 3)),
    conv("conv2d grouped", nn.Conv2d, 4, 6, 3, given=IMAGE, groups=2),
    conv(
        "conv2d grouped, strided, dilated",
        nn.Conv2d,
        4,
        4,
        2,
        given=IMAGE,
        groups=2,
        stride=2,
        padding=1,
        dilation=2,
    ),
    conv("conv2d depthwise", nn.Conv2d, 4, 4, 3, given=IMAGE, groups=4, padding=1),
    conv("conv2d same", nn.Conv2d, 4, 3, (3, 5), given=IMAGE, padding="same"),
    conv("conv2d valid", nn.Conv2d, 4, 3, 3, given=IMAGE, padding="valid"),
    conv("conv2d reflect", nn.Conv2d, 4, 3, 3, given=IMAGE, padding=2, padding_mode="reflect"),
    conv("conv2d replicate", nn.Conv2d, 4, 3, 3, given=IMAGE, padding=1, padding_mode="replicate"),
    conv("conv2d of one", nn.Conv2d, 4, 3, 1, given=IMAGE),
    conv("conv2d of one, strided", nn.Conv2d, 4, 3, 1, given=IMAGE, stride=2),
    conv("conv2d, channels as the batch", nn.Conv2d, B, B, 2, given=x(B, B, B, B)),
    conv(
        "conv2d, channels last",
        nn.Conv2d,
        4,
        3,
        3,
        given=IMAGE.contiguous(memory_format=torch.channels_last),
    ),
    conv("conv2d of one sample", nn.Conv2d, 4, 3, 3, given=x(1, 4, 5, 6)),
    conv("conv3d", nn.Conv3d, 2, 3, 2, given=VOLUME),
    conv("conv3d padded, grouped", nn.Conv3d, 2, 4, 2, given=VOLUME, groups=2, padding=1),
    conv(
        "conv3d strided, dilated",
        nn.Conv3d,
        2,
        3,
        2,
        given=VOLUME,
        stride=2,
        dilation=2,
        padding=(1, 0, 1),
    ),
    conv("conv3d depthwise", nn.Conv3d, 2, 2, 2, given=VOLUME, groups=2),
    conv("conv3d circular", nn.Conv3d, 2, 2, 2, given=VOLUME, padding=1, padding_mode="circular"),
    conv("transposed conv1d", nn.ConvTranspose1d, 4, 3, 3, given=SIGNAL),
    conv(
        "transposed conv1d grouped, strided",
        nn.ConvTranspose1d,
        4,
        6,
        3,
        given=SIGNAL,
        groups=2,
        stride=2,
        padding=1,
        output_padding=1,
    ),
    conv("transposed conv1d depthwise", nn.ConvTranspose1d, 4, 4, 3, given=SIGNAL, groups=4),
    conv("transposed conv1d of one, square", nn.ConvTranspose1d, B, B, 1, given=x(B, B, B)),
    conv("transposed conv2d", nn.ConvTranspose2d, 4, 3, 2, given=IMAGE),
    conv(
        "transposed conv2d strided, dilated",
        nn.ConvTranspose2d,
        4,
        3,
        2,
        given=IMAGE,
        stride=2,
        dilation=2,
        output_padding=1,
        bias=False,
    ),
    conv(
        "transposed conv2d grouped",
        nn.ConvTranspose2d,
        4,
        6,
        (2, 3),
        given=IMAGE,
        groups=2,
        padding=(1, 0),
    ),
    conv("transposed conv3d", nn.ConvTranspose3d, 2, 3, 2, given=VOLUME),
    conv(
        "transposed conv3d grouped, strided, dilated",
        nn.ConvTranspose3d,
        2,
        4,
        2,
        given=VOLUME[..., :2],
        groups=2,
        stride=2,
        dilation=2,
        output_padding=1,
    ),
    row("cnn with group norm", cnn, IMAGE),
    row("resnet with group norm", resnet, x(B, 2, 6, 6)),
    row("separable convolution", separable, IMAGE),
    row("pixel shuffle and interpolation", unet, IMAGE),
    row(
        "two convolutions, losses by channel",
        lambda: nn.Sequential(nn.Conv1d(4, 3, 3), nn.GELU(), nn.Conv1d(3, 3, 2)),
        SIGNAL,
        loss=by_position,
    ),
    row(
        "fold and unfold",
        lambda: nn.Sequential(
            nn.Unfold(2), nn.Conv1d(16, 12, 1), nn.Fold((5, 6), (2, 2), padding=1, stride=2)
        ),
        IMAGE[:, :, :4, :5],
    ),
    function("unbatched convolution", unbatched, [(3, 4, 3)], SIGNAL),
    function("samples as groups", samples_as_groups, [(3, 4, 3)], SIGNAL),
    function("samples along the length", samples_as_length, [(3, 28, 1)], SIGNAL),
    function(
        "kernels for each sample",
        lambda x, w: F.conv1d(x.view(1, 16, 7), w, groups=B),
        [(3 * B, 4, 2)],
        SIGNAL,
        loss=lambda y: squared(y.view(B, -1)),
    ),
    function(
        "convolution with a flipped kernel",
        lambda x, w: F.conv2d(x, w.flip(2, 3)).tanh(),
        [(3, 4, 2, 2)],
        IMAGE,
    ),
    function(
        "convolution that shares a kernel over channels",
        lambda x, w: F.conv2d(x, w.expand(4, 1, 2, 2), groups=4).tanh(),
        [(1, 1, 2, 2)],
        IMAGE,
    ),
]
