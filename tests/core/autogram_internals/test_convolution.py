"""The rule of convolutions: every setting of theirs, by every way to the Gramian."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from torchjd.autogram._layout import Layout
from torchjd.autogram._rules._call import Call
from torchjd.autogram._rules._convolution import convolution
from torchjd.autogram._uses import _tiles, _tiling
from torchjd.autogram._uses._kernel_rows import KernelRows
from torchjd.autogram._uses._patches import Patches
from torchjd.autogram._uses._rows import Rows
from torchjd.autogram._uses._use import Use

from .rule_oracle import call_of, check, close, missing, random, refused

B = 3
WEIGHT, BIAS = 1, 2


class Row(NamedTuple):
    """A convolution, and the shape of one sample of its input."""

    module: Callable[[], nn.Module]
    sample: tuple[int, ...]


TABLE = {
    "1d": Row(lambda: nn.Conv1d(3, 4, 3), (3, 9)),
    "1d wide": Row(lambda: nn.Conv1d(50, 4, 3), (50, 9)),
    "1d wide strided": Row(lambda: nn.Conv1d(50, 4, 3, stride=2, padding=1), (50, 9)),
    "1d wide dilated": Row(lambda: nn.Conv1d(50, 2, 4, 3, padding=5, dilation=2), (50, 9)),
    "2d": Row(lambda: nn.Conv2d(2, 4, 3), (2, 6, 5)),
    "2d padded": Row(lambda: nn.Conv2d(2, 4, 3, padding=1), (2, 6, 5)),
    "2d same": Row(lambda: nn.Conv2d(2, 4, (3, 5), padding="same"), (2, 6, 5)),
    "2d reflected": Row(lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), (2, 6, 5)),
    "2d strided": Row(lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1), (2, 6, 5)),
    "2d few channels, many responses": Row(lambda: nn.Conv2d(2, 50, 3, padding=1), (2, 4, 5)),
    "2d wide": Row(lambda: nn.Conv2d(20, 4, 3, padding=1), (20, 6, 5)),
    "2d wide strided": Row(lambda: nn.Conv2d(20, 4, (4, 3), (3, 2), (2, 1)), (20, 8, 7)),
    "2d dilated": Row(lambda: nn.Conv2d(20, 4, 3, dilation=2, padding=1), (20, 6, 7)),
    "2d dilated strided": Row(lambda: nn.Conv2d(20, 4, 3, 2, dilation=3, padding=3), (20, 9, 7)),
    "2d padded by more than the signal": Row(lambda: nn.Conv2d(20, 4, 3, padding=4), (20, 2, 1)),
    "2d without bias": Row(lambda: nn.Conv2d(3, 4, 3, bias=False), (3, 5, 4)),
    "2d 1x1": Row(lambda: nn.Conv2d(50, 5, 1), (50, 4, 5)),
    "2d 1x1 strided": Row(lambda: nn.Conv2d(50, 5, 1, stride=2), (50, 5, 4)),
    "2d apart": Row(lambda: nn.Conv2d(3, 4, (3, 2), stride=(3, 2)), (3, 7, 5)),
    "2d apart grouped": Row(lambda: nn.Conv2d(6, 4, 2, stride=2, groups=2), (6, 5, 4)),
    "2d dilated as far as strided": Row(lambda: nn.Conv2d(3, 4, 2, 2, dilation=2), (3, 7, 5)),
    "2d one position": Row(lambda: nn.Conv2d(6, 5, 3), (6, 3, 3)),
    "2d grouped": Row(lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 6, 5)),
    "2d grouped wide": Row(lambda: nn.Conv2d(40, 6, 3, groups=2, padding=1), (40, 6, 5)),
    "2d depthwise": Row(lambda: nn.Conv2d(6, 6, 3, groups=6, stride=2), (6, 7, 5)),
    "2d depthwise multiplied": Row(lambda: nn.Conv2d(6, 12, 3, groups=6), (6, 7, 5)),
    "3d": Row(lambda: nn.Conv3d(2, 3, 3, padding=1), (2, 4, 3, 5)),
    "3d strided dilated": Row(
        lambda: nn.Conv3d(20, 3, (3, 2, 1), (2, 1, 2), (3, 0, 1), (2, 1, 1)), (20, 4, 3, 5)
    ),
    "1d transposed": Row(lambda: nn.ConvTranspose1d(3, 4, 3, stride=2), (3, 5)),
    "2d transposed": Row(lambda: nn.ConvTranspose2d(3, 4, 3, padding=1), (3, 5, 4)),
    "2d transposed wide": Row(
        lambda: nn.ConvTranspose2d(3, 20, (3, 2), 2, (1, 0), (1, 0)), (3, 5, 4)
    ),
    "2d transposed grouped": Row(
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2), (4, 3, 2)
    ),
    "2d transposed depthwise": Row(lambda: nn.ConvTranspose2d(4, 4, 3, groups=4), (4, 3, 2)),
    "2d transposed apart": Row(lambda: nn.ConvTranspose2d(3, 4, 2, 2, groups=1), (3, 3, 2)),
    "3d transposed": Row(
        lambda: nn.ConvTranspose3d(2, 20, 2, stride=2, output_padding=1, dilation=2), (2, 2, 3, 2)
    ),
}

SMALL = {
    "_TILE_BYTES": 1,
    "LEAST_COLUMNS": 1,
    "_LEAST_RESPONSES": 1,
    "_LEAST_ENTRIES": 20,
    "_ALIGNMENT": 1,
}
WAYS: dict[str, tuple[bool, int, dict[str, int]]] = {
    "pairs": (True, 1 << 30, {}),
    "kept rows": (False, 1 << 29, {}),
    "kept rows, sample by sample": (False, 1 << 29, {"_WINDOWS_BYTES": 1}),
    "tiles": (False, 0, {}),
    "small tiles": (False, 0, SMALL),
    "small tiles, sample by sample": (False, 0, {**SMALL, "_WINDOWS_BYTES": 1}),
}
"""Whether pairs of positions are to be preferred, the bytes of the factors, and sizes of tiles."""


@pytest.fixture(params=WAYS)
def _way(request, monkeypatch):
    pairs, size, tiling = WAYS[request.param]
    monkeypatch.setattr(
        Patches, "_prefers_ghost", lambda use: pairs and use._convolution.groups == 1
    )
    monkeypatch.setattr(Patches, "nbytes", lambda use: size)
    for name, value in tiling.items():
        monkeypatch.setattr(_tiling, name, value)
    if "LEAST_COLUMNS" in tiling:
        monkeypatch.setattr(_tiles, "LEAST_COLUMNS", tiling["LEAST_COLUMNS"])


def made(name: str, images: int = 1) -> tuple[nn.Module, Tensor]:
    """Return a convolution of the table with its output."""
    row = TABLE[name]
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        module = row.module().double()
    return module, module(random(B * images, *row.sample).requires_grad_())


def inputs(module: nn.Module) -> dict[int, Tensor]:
    """Return the parameters by the number of the input that they are."""
    numbers = {"weight": WEIGHT, "bias": BIAS}
    return {numbers[name]: parameter for name, parameter in module.named_parameters()}


def uses_of(call: Call) -> Any:
    """Return what the rule returns."""
    with torch.no_grad():
        return convolution(call)


def patches(module: nn.Module, x: Tensor) -> Use:
    """Return the use of the weight of ``module``, in the dtype of ``x``."""
    call, _ = call_of(module(x), Layout(0), len(x), {WEIGHT: module.weight}, 1)
    use: Use = uses_of(call)[WEIGHT]
    return use


def test_torch_saves_what_is_read():
    reads = {"input", "stride", "padding", "dilation", "transposed", "output_padding", "groups"}
    assert not missing("ConvolutionBackward0", reads)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("name", TABLE)
def test_every_setting(name, tasks):
    module, out = made(name)
    check(convolution, out, Layout(0), B, inputs(module), tasks)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("name", ["1d", "2d wide strided", "2d grouped wide", "2d transposed wide"])
def test_several_images_a_sample(name, inner, tasks):
    module, out = made(name, images=4)
    check(convolution, out, Layout(0, inner), B, inputs(module), tasks)


@pytest.mark.usefixtures("_way")
def test_one_sample_of_many_images():
    module, out = made("2d wide", images=4)
    check(convolution, out, Layout(0), 1, inputs(module), 2)


@pytest.mark.usefixtures("_way")
def test_channels_last():
    module = nn.Conv2d(20, 4, 3, padding=1).double()
    x = random(B, 20, 6, 5).to(memory_format=torch.channels_last).requires_grad_()
    check(convolution, module(x), Layout(0), B, inputs(module), 2)


@pytest.mark.parametrize("name", ["2d wide", "2d grouped wide", "2d transposed wide"])
def test_two_uses_are_one_of_the_sum(name):
    module, out = made(name)
    again = module(random(B, *TABLE[name].sample, seed=9))
    parts = [call_of(o, Layout(0), B, {WEIGHT: module.weight}, 2) for o in (out, again)]
    first, second = (uses_of(call)[WEIGHT] for call, _ in parts)
    rows = parts[0][1][WEIGHT] + parts[1][1][WEIGHT]
    with torch.no_grad():
        close(first.merge(second).rows(), rows)
        kept = [use._tiles().whole() for use in (first, second)]
        close(kept[0].merge(kept[1]).rows(), rows)
        assert kept[0].merge(Rows(kept[1].rows().unflatten(0, (2, B)))) is None


def test_uses_of_images_of_two_sizes_are_not_one():
    module = nn.Conv2d(2, 4, 3).double()
    first, second = (patches(module, random(B, 2, size, 5)) for size in (5, 6))
    assert first.merge(second) is None


@pytest.mark.parametrize(
    ("module", "size", "kept"),
    [
        (nn.Conv2d(8, 4, 3), 16, KernelRows),  # many positions, few entries of the weight
        (nn.Conv2d(40, 40, 3), 6, Patches),
        (nn.Conv2d(60, 60, 3), 3, Patches),  # one position
    ],
)
def test_what_is_kept_is_what_takes_fewer_bytes(module, size, kept):
    use = patches(module.double(), random(B, module.in_channels, size, size))
    gramian = torch.zeros(B, B, dtype=torch.float64)
    result = use.add_gramian(gramian, 1 << 30)
    assert isinstance(result, kept)
    assert result.nbytes() <= use.nbytes()
    assert use.add_gramian(gramian, result.nbytes() - 1) is None


class Largest(TorchDispatchMode):
    """Records the size in bytes of the largest memory that is made."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        known = [a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)]
        for made in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(made, Tensor) and made.untyped_storage().data_ptr() not in known:
                self.size = max(self.size, made.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize(
    ("module", "batch", "size"),
    [
        (nn.Conv2d(64, 64, 3, padding=1), 16, 32),
        (nn.Conv2d(256, 256, 3, padding=1), 16, 8),  # rows of 38 MB
        (nn.Conv2d(256, 512, 3, padding=1), 8, 4),  # rows of 38 MB, few positions
        (nn.Conv2d(512, 512, 3, padding=1, groups=512), 32, 14),
        (nn.Conv2d(32, 32, 5, padding=2), 128, 16),
    ],
)
def test_only_little_memory_is_used_where_nothing_may_be_kept(module, batch, size):
    x = random(batch, module.in_channels, size, size).float()
    use = patches(module, x)
    assert isinstance(use, Patches)
    with torch.no_grad(), Largest() as largest:
        assert use.add_gramian(torch.zeros(batch, batch), keep=0) is None
    assert 0 < largest.size < 8 << 20


def test_single_precision():
    module = nn.Conv2d(20, 16, 3, padding=1)
    call, rows = call_of(
        module(random(B, 20, 12, 12).float()), Layout(0), B, {WEIGHT: module.weight}, 1
    )
    gramian, J = torch.zeros(B, B), rows[WEIGHT].flatten(1)
    uses_of(call)[WEIGHT].add_gramian(gramian, 0)
    close(gramian, J @ J.T, torch.float32)


def test_samples_elsewhere_and_inputs_that_are_parameters_are_left_to_others():
    module, out = made("2d")
    assert refused(convolution, out, Layout(1), 4, {WEIGHT: module.weight})
    image = random(B, 2, 6, 5).requires_grad_()
    assert refused(convolution, module(image), Layout(0), B, {0: image, WEIGHT: module.weight})
