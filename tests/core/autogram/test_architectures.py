"""Gramians and weighted gradients of every architecture, against dense float64 references."""

import pytest
import torch

from torchjd.autogram import Engine

from .architectures import ARCHITECTURES, BY_NAME, oracle, reference
from .harness import MODES, Fixed, alone
from .oracle import TOLERANCE, assert_gradient, assert_gramian, relative_error, trainable

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

DTYPES = [torch.float32, torch.float64]

every_architecture = pytest.mark.parametrize("name", BY_NAME)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.mark.parametrize("name", [a.name for a in ARCHITECTURES if a.traceable])
def test_the_two_references_agree(name):
    error = relative_error(reference(BY_NAME[name], func=False).gramian(), oracle(name).gramian())
    assert error < 1e-12


@every_dtype
@every_architecture
def test_gramian(name, dtype):
    architecture, right = BY_NAME[name], oracle(name)
    model = architecture.model(dtype)
    engine = Engine(model, batch_dim=architecture.batch_dim)
    single = alone(model, lambda: architecture.forward(model), architecture.batch_dim)
    for _ in range(2):  # the second time the layout is known
        losses = architecture.forward(model)
        gramian = engine.compute_gramian(losses)
        assert gramian.dtype == losses.dtype
        assert gramian.shape == (*losses.shape, *reversed(losses.shape))
        assert_gramian(
            gramian,
            right,
            TOLERANCE[dtype],
            single,
        )
    assert all(p.grad is None for p in model.parameters())
    weights = Fixed()(gramian)
    losses.backward(weights.to(losses.dtype))
    assert_gradient(model, right, weights, TOLERANCE[dtype])


@every_mode
@every_dtype
@every_architecture
def test_backward(name, dtype, mode):
    architecture, right = BY_NAME[name], oracle(name)
    model = architecture.model(dtype)
    engine = Engine(model, batch_dim=architecture.batch_dim, mode=mode)
    single = alone(model, lambda: architecture.forward(model), architecture.batch_dim)
    weighting = Fixed()
    losses = architecture.forward(model)
    weights = engine.backward(losses, weighting)
    assert weights.shape == losses.shape
    assert_gramian(
        weighting.gramian,
        right,
        TOLERANCE[dtype],
        single,
    )
    assert_gradient(model, right, weights, TOLERANCE[dtype])


@every_mode
@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        "losses [2, B]",
        "cnn with group norm",
        "lstm two layers, both ways",
        "tied words and head",
        "weight norm",
        "vision transformer",
        "partly frozen",
        "unused parameter",
    ],
)
def test_gradients_accumulate(name, mode):
    architecture, right = BY_NAME[name], oracle(name)
    model = architecture.model(torch.float64)
    engine = Engine(model, batch_dim=architecture.batch_dim, mode=mode)
    weights = engine.backward(architecture.forward(model), Fixed())
    before = {name: p.grad for name, p in trainable(model).items()}
    for times in (2.0, 3.0):
        engine.backward(architecture.forward(model), Fixed())
        assert_gradient(model, right, weights, TOLERANCE[torch.float64], times)
    for name, p in trainable(model).items():
        # As torch does: the tensor that is there is added to, and may be shared with others.
        assert p.grad is before[name]


@pytest.mark.parametrize("name", ["mlp", "losses [B, 2, 3]", "lstm batch first", "gate"])
def test_without_a_dimension_of_samples(name):
    architecture, right = BY_NAME[name], oracle(name)
    model = architecture.model(torch.float64)
    engine = Engine(model, batch_dim=None)
    gramian = engine.compute_gramian(architecture.forward(model))
    assert_gramian(gramian, right, TOLERANCE[torch.float64])
