"""Jacobians of graphs of half precision: autograd's rows of the same graph, bit for bit."""

import pytest
import torch
from torch import Tensor, nn

from torchjd.autojac import backward, jac, mtl_backward

from .autogram.half_precision import (
    HALVES,
    IMAGE,
    MODELS,
    NORMS,
    PLAIN,
    ROWS,
    SEQUENCES,
    SETTINGS,
    Transformer,
    autocast,
    by_sample,
    conv_stack,
    mlp,
    rounding,
    same,
    wave,
)

pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
every_dtype = pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
every_model = pytest.mark.parametrize("case", MODELS, ids=same)
every_setting = pytest.mark.parametrize("setting", [PLAIN, *SETTINGS], ids=same)
every_size = pytest.mark.parametrize("chunk_size", [1, 3, None])


def rows_of(losses: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Return the Jacobian by one call of autograd for each loss; keeps the graph."""
    found = [
        torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        for loss in losses.flatten()
    ]
    return [torch.stack(rows) for rows in zip(*found, strict=True)]


def assert_rows(
    found: list[Tensor], expected: list[Tensor], dtype: torch.dtype, chunk_size: int | None
) -> None:
    """Assert that the rows are those expected: the same bits, unless several are computed at once.

    Kernels of batched tensors may sum in another order, and round to another neighbour.
    """
    for jacobian, right in zip(found, expected, strict=True):
        assert (jacobian.dtype, jacobian.shape) == (right.dtype, right.shape)
        assert right.any(), "the case shows nothing"
        if chunk_size == 1:
            assert torch.equal(jacobian, right)
        else:
            error = (jacobian.double() - right.double()).flatten(1).norm(dim=1)
            assert (error <= rounding(right, dtype)).all()


@every_size
@every_dtype
@pytest.mark.parametrize("case", NORMS, ids=same)
def test_normalisations_under_autocast(case, dtype, chunk_size):
    model = case.model()
    parameters = list(model.parameters())
    losses = PLAIN.losses(model, case.given(), dtype)
    expected = rows_of(losses, parameters)
    found = jac(losses, parameters, parallel_chunk_size=chunk_size)
    assert_rows(list(found), expected, dtype, chunk_size)


@every_size
@every_dtype
@pytest.mark.parametrize("case", [*NORMS, *MODELS[:-1]], ids=same)  # the last one needs autocast
def test_parameters_of_half_precision(case, dtype, chunk_size):
    model = case.model(dtype)
    parameters = list(model.parameters())
    losses = by_sample(model(case.given().to(dtype)))
    expected = rows_of(losses, parameters)
    found = jac(losses, parameters, parallel_chunk_size=chunk_size)
    assert_rows(list(found), expected, dtype, chunk_size)


@every_size
@every_dtype
@every_setting
@every_model
def test_backward(case, setting, dtype, chunk_size):
    model = case.model()
    parameters = list(model.parameters())
    losses = setting.losses(model, case.given(), dtype)
    expected = rows_of(losses, parameters)
    backward(losses, inputs=parameters, parallel_chunk_size=chunk_size)
    assert_rows([p.jac for p in parameters], expected, dtype, chunk_size)


@every_dtype
@every_model
def test_losses_apart_within_autocast(case, dtype):
    """What autograd computes within autocast: its own mistakes and all."""
    model = case.model()
    parameters = list(model.parameters())
    with autocast(dtype):
        losses = by_sample(model(case.given()).float())
        expected = rows_of(losses, parameters)
        backward(list(losses), inputs=parameters, parallel_chunk_size=1)
    assert_rows([p.jac for p in parameters], expected, dtype, 1)


class Heads(nn.Module):
    """A trunk, and a head with a normalisation for each of three tasks."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2)) for _ in range(3)
        )


TRUNKS = {
    "batch norm": (conv_stack(nn.BatchNorm2d), IMAGE),
    "group norm": (conv_stack(lambda n: nn.GroupNorm(2, n)), IMAGE),
    "transformer": (Transformer, SEQUENCES),
    "mlp": (mlp, ROWS),
}


@every_size
@every_dtype
@pytest.mark.parametrize("loss_within", [False, True], ids=["loss outside", "loss within"])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_mtl_backward(trunk, loss_within, dtype, chunk_size):
    build, shape = TRUNKS[trunk]
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        model = Heads(build())
    shared = list(model.trunk.parameters())
    with autocast(dtype):
        features = model.trunk(wave(*shape))
        outputs = [head(features) for head in model.heads]
        if loss_within:
            losses = [by_sample(output).mean() for output in outputs]
    if not loss_within:
        losses = [by_sample(output.float()).mean() for output in outputs]
    assert features.dtype == dtype
    expected = rows_of(torch.stack(losses), shared)
    own = [
        torch.autograd.grad(loss, list(head.parameters()), retain_graph=True)
        for loss, head in zip(losses, model.heads, strict=True)
    ]
    mtl_backward(losses, features, parallel_chunk_size=chunk_size)
    assert_rows([p.jac for p in shared], expected, dtype, chunk_size)
    for head, grads in zip(model.heads, own, strict=True):
        assert all(torch.equal(p.grad, g) for p, g in zip(head.parameters(), grads, strict=True))


@pytest.mark.parametrize("apart", [False, True], ids=["one tensor", "a tensor each"])
@every_model
def test_overflow_stays_in_its_row(case, apart):
    """A loss whose cotangents are beyond float16, row by row."""
    model, given = case.model(), case.given()
    parameters = list(model.parameters())
    losses = PLAIN.losses(model, given, torch.float16)
    expected = rows_of(losses, parameters)
    scales = torch.ones(len(losses))
    scales[2] = 2.0**40
    losses = losses * scales
    tensors = [losses[i] for i in range(len(losses))] if apart else losses
    found = jac(tensors, parameters, parallel_chunk_size=1)
    others = torch.arange(len(scales)) != 2
    assert not all(rows[2].isfinite().all() for rows in found)
    for rows, right in zip(found, expected, strict=True):
        assert torch.equal(rows[others], right[others])


@every_model
def test_scaled_losses(case):
    """Cotangents below float16 survive where the losses are scaled, as a gradient scaler does."""
    model, given = case.model(), case.given()
    parameters = list(model.parameters())
    losses = PLAIN.losses(model, given, torch.float16)
    expected = rows_of(losses, parameters)

    def close(scale: float) -> bool:
        found = jac(losses * (2.0**-18 * scale), parameters, retain_graph=True)
        return all(
            bool(((rows / (2.0**-18 * scale) - right).flatten(1).norm(dim=1) <= limit).all())
            for rows, right, limit in zip(found, expected, limits, strict=True)
        )

    limits = [rounding(rows, torch.float16) for rows in expected]
    assert close(2.0**16)
    assert not close(1.0), "the case shows nothing"
