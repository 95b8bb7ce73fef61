"""Regions that are computed again in the backward pass: checkpoints, compiled regions."""

import shutil

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from torchjd.autogram import Engine

from .architecture import squared, x
from .harness import MODES, Alone, Fixed, assert_step, net, seeded
from .oracle import assert_gramian, by_rows, relative_error, trainable

B = 5
ROWS = x(B, 4)
every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
def test_dropout(mode):
    model = net(dropout=0.5)
    engine = Engine(model, batch_dim=0, mode=mode)
    for _ in range(2):
        assert_step(engine, model, seeded(lambda: squared(model(ROWS))))


class Checkpointed(nn.Module):
    """A checkpointed block that counts how often it runs."""

    def __init__(self, depth: int = 1) -> None:
        super().__init__()
        self.first, self.block, self.last = net()[0], net()[2:5], net()[5]
        self.depth, self.runs = depth, 0

    def run(self, h: Tensor) -> Tensor:
        self.runs += 1
        return self.block(h.tanh())

    def forward(self, given: Tensor) -> Tensor:
        run = self.run
        for _ in range(self.depth):
            run = lambda h, inner=run: checkpoint(inner, h, use_reentrant=False)  # noqa: E731
        return self.last(run(self.first(given)))


@every_mode
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_checkpoint(depth, mode):
    model = Checkpointed(depth)
    engine = Engine(model, batch_dim=0, mode=mode)
    for _ in range(2):
        assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
def test_checkpoint_of_attention_with_dropout(mode):
    torch.random.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 5, 0.2, batch_first=True).double()
    given = x(B, 3, 6)
    forward = seeded(lambda: squared(checkpoint(layer, given, use_reentrant=False)))
    assert_step(Engine(layer, batch_dim=0, mode=mode), layer, forward)


@every_mode
def test_checkpoint_of_functions_of_parameters(mode):
    """What a function of parameters saved is read once for each loss."""
    torch.random.manual_seed(0)
    model = nn.Sequential(
        weight_norm(nn.Linear(4, 6)), nn.Tanh(), weight_norm(nn.Linear(6, 2))
    ).double()
    engine = Engine(model, batch_dim=0, mode=mode)
    for losses in (squared, lambda y: y.pow(2)):
        forward = lambda of=losses: of(checkpoint(model, ROWS, use_reentrant=False))  # noqa: E731
        assert_step(engine, model, forward)


def test_checkpoint_below_a_mixture():
    """With no parameter before it but its own, a layer counts as a function of parameters."""
    torch.random.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)).double()
    losses = squared(checkpoint(layers, ROWS, use_reentrant=False))
    right = by_rows(losses, trainable(layers))
    for name, parameter in trainable(layers).items():
        gramian = Engine(Alone(parameter)).compute_gramian(losses)
        # Before a batch norm, the gradient of a bias is zero but for rounding.
        scale = float(right.gramian().norm())
        assert relative_error(gramian, right.gramian([name]), scale) < 1e-10


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("call", ["gramian", "backward"])
def test_a_checkpointed_region_is_computed_again_once(call, warm):
    model = Checkpointed()
    engine = Engine(model, batch_dim=0, mode="reuse")
    if warm:
        engine.compute_gramian(squared(model(ROWS)))
    losses = squared(model(ROWS))
    model.runs = 0
    if call == "gramian":
        engine.compute_gramian(losses)
    else:
        engine.backward(losses, Fixed())
    assert model.runs == 1


def test_reentrant_checkpoint_is_refused():
    model = net()
    given = ROWS.clone().requires_grad_()
    losses = squared(checkpoint(model, given, use_reentrant=True))
    engine = Engine(model, batch_dim=0)
    with pytest.raises(RuntimeError, match="reentrant"):
        engine.compute_gramian(losses)
    with pytest.raises(RuntimeError, match="reentrant"):
        engine.backward(losses, Fixed())
    assert all(p.grad is None for p in model.parameters())
    assert_step(engine, model, lambda: squared(model(ROWS)))


@pytest.fixture
def compiler():
    torch._dynamo.reset()
    yield torch.compile
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")  # of the compiler's own imports
@every_mode
@pytest.mark.parametrize("part", ["model", "submodule"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled(compiler, backend, part, mode):
    model = net()
    if part == "model":
        compiled = compiler(model, backend=backend)
    else:
        compiled = nn.Sequential(model[0], compiler(model[1:4], backend=backend), model[4:])
    engine = Engine(model, batch_dim=0, mode=mode)
    right = by_rows(squared(model(ROWS)), trainable(model))
    for _ in range(2):
        assert_step(engine, model, lambda: squared(compiled(ROWS)), right=right)


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own imports
def test_compiled_by_inductor(compiler, tmp_path, monkeypatch):
    import torch._functorch.config as functorch_config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = net()[3:5].append(nn.Linear(5, 2, dtype=torch.float64))  # few kernels to compile
    given = x(B, 6)
    engine = Engine(model, batch_dim=0)
    right = by_rows(squared(model(given)), trainable(model))
    # As users have it: the compiled backward pass may overwrite what it reads.
    compiled = compiler(model)
    compiled(given).sum().backward()
    model.zero_grad()
    losses = squared(compiled(given))
    try:
        gramian = engine.compute_gramian(losses)
    except RuntimeError as refusal:
        assert "donated" in str(refusal)  # noqa: PT017
    else:
        assert_gramian(gramian, right, 1e-10)
    torch._dynamo.reset()
    with functorch_config.patch(enable_autograd_cache=False, donated_buffer=False):
        compiled = compiler(model)
        assert_step(engine, model, lambda: squared(compiled(given)), right=right)
