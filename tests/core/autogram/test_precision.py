"""Autocast and models of half precision: rows of the same graph, accumulated in float32."""

import pytest
import torch
from torch import nn

from torchjd.autogram import Engine

from .architecture import squared, x
from .harness import MODES, assert_step, net
from .oracle import relative_error

B = 5
ROWS = x(B, 4)
every_mode = pytest.mark.parametrize("mode", MODES)


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)
    )


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 5, 0.0, batch_first=True)
    return nn.Sequential(layer, nn.LayerNorm(6), nn.Linear(6, 2))


class First(nn.Module):
    """What a recurrent layer returns first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, given):
        return self.layer(given)[0]


class Twice(nn.Module):
    """A layer used twice: autocast converts its weight once for both."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, given):
        return self.layer(self.layer(given).tanh()) + self.layer.bias.exp()


MODELS = {
    "linear": (lambda: net(dtype=torch.float32), ROWS),
    "convolutional": (convolutional, x(B, 4, 6)),
    "shared": (Twice, ROWS),
    "lstm": (lambda: First(nn.LSTM(4, 3, batch_first=True)), x(B, 3, 4)),
    "transformer": (transformer, x(B, 3, 6)),
}


@every_mode
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", MODELS)
def test_autocast(name, dtype, mode):
    """The rows of the same graph, and accumulated in float32."""
    if name == "lstm" and dtype == torch.float16:
        pytest.skip("not every processor has an LSTM in float16")
    build, given = MODELS[name]
    torch.random.manual_seed(0)
    model = build()
    engine = Engine(model, batch_dim=0, mode=mode)

    def forward():
        with torch.autocast("cpu", dtype=dtype):
            return squared(model(given.float()).float())

    losses = forward()
    assert engine.compute_gramian(losses).dtype == torch.float32
    assert_step(engine, model, forward, 1e-2)


def test_calls_within_autocast():
    model = net(dtype=torch.float32)
    engine = Engine(model, batch_dim=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_step(engine, model, lambda: squared(model(ROWS.float()).float()), 1e-2)


@every_mode
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_models_of_half_precision(dtype, mode):
    model = net(dtype=dtype)
    engine = Engine(model, batch_dim=0, mode=mode)

    def forward():
        return squared(model(ROWS.to(dtype)))

    gramian = engine.compute_gramian(forward())
    assert gramian.dtype == torch.float32
    assert_step(engine, model, forward, 3e-2)
    assert all(p.grad.dtype == dtype for p in model.parameters())


def test_gramians_of_half_precision_do_not_overflow():
    """Rows whose squared norm is beyond float16, summed over many entries."""
    model = nn.Linear(64, 1, bias=False).to(torch.float16)
    given = torch.full((2, 64), 100.0, dtype=torch.float16)
    gramian = Engine(model, batch_dim=0).compute_gramian(model(given).squeeze(1))
    assert relative_error(gramian, torch.full((2, 2), 640_000.0)) < 1e-5


def test_float32_within_float64():
    model = net()
    forward = lambda: squared(model[3:](model[:3](ROWS).float().double()))  # noqa: E731
    assert_step(Engine(model, batch_dim=0), model, forward, 1e-6)
