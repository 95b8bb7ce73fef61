"""Samples that depend on one another are found, also by an engine that has seen them apart."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchjd.autogram import Engine

from .architecture import squared, target, x
from .harness import MODES, assert_step

B = 6
ROWS = x(B, 5)
SQUARE = x(B, B)
every_mode = pytest.mark.parametrize("mode", MODES)


class Around(nn.Module):
    """Two linear layers, and between them what the test is about."""

    def __init__(self, between, width: int = 5, hidden: int = B) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(0)
            self.first = nn.Linear(width, hidden)
            self.last = nn.Linear(hidden, 3)
        self.between = between
        self.double()

    def forward(self, given: Tensor) -> Tensor:
        return self.last(self.between(self.first(given)).tanh())


def over_the_batch(h: Tensor) -> Tensor:
    return (h @ h.T).softmax(1) @ h


def contrast(h: Tensor) -> Tensor:
    z = F.normalize(h)
    return F.cross_entropy(z @ z.T / 0.5, torch.arange(len(h)), reduction="none")


def apart(h: Tensor) -> Tensor:
    return (h[1:] - h[:-1]).pow(2).sum(1)


def deep_batch_norm() -> nn.Module:
    return nn.Sequential(
        nn.Tanh(), nn.Linear(B, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4),
        nn.BatchNorm1d(4, track_running_stats=False), nn.Tanh(), nn.Linear(4, B),
    )  # fmt: skip


MIX = x(B, B, seed=3)
COUPLED = {
    "batch norm": nn.BatchNorm1d(B),
    "batch norm without affine": nn.BatchNorm1d(B, affine=False),
    "batch norm, cumulative": nn.BatchNorm1d(B, momentum=None),
    "batch norm, deep": deep_batch_norm(),
    "centred": lambda h: h - h.mean(0),
    "attention over the batch": over_the_batch,
    "constant mixture": lambda h: MIX @ h,
    "layer norm over the batch": lambda h: F.layer_norm(h.T, [len(h)]).T,
    "softmax over the batch": lambda h: h.softmax(0),
    "cumulated over the batch": lambda h: h.cumsum(0),
    "rolled over the batch": lambda h: h + h.roll(1, 0),
    "sorted over the batch": lambda h: h.sort(0)[0],
    "maximum over the batch": lambda h: h - h.amax(0),
    "pairs": lambda h: h.view(3, 2, -1).mean(1).repeat_interleave(2, 0),
    "first sample in all": lambda h: h * h[0],
    "unbatched lstm": lambda h: h,  # replaced below: the samples are its time steps
    "sequence-first attention": lambda h: h,
}


def modules_that_couple(name: str):
    torch.random.manual_seed(0)
    if name == "unbatched lstm":
        cells = nn.LSTM(B, B)
        return First(cells)
    if name == "sequence-first attention":
        return nn.Sequential(
            nn.Unflatten(1, (2, 3)), nn.TransformerEncoderLayer(3, 1, 4, 0.0), nn.Flatten()
        )
    return COUPLED[name]


class First(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, given: Tensor) -> Tensor:
        return self.module(given)[0]


@every_mode
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", COUPLED)
def test_coupled_samples(name, mode):
    with torch.random.fork_rng(devices=[]):
        model = Around(modules_that_couple(name))
    engine = Engine(model, batch_dim=0, mode=mode)
    for _ in range(2):
        assert_step(engine, model, lambda: squared(model(ROWS)))


@every_mode
def test_batch_norm_of_images(mode):
    torch.random.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.BatchNorm2d(4),
        nn.Flatten(), nn.Linear(4, 2),
    ).double()  # fmt: skip
    images = x(B, 2, 3, 3)
    engine = Engine(model, batch_dim=0, mode=mode)
    assert_step(engine, model, lambda: squared(model(images)))
    assert_step(engine, model, lambda: (model(images) - 1).pow(2))


@every_mode
@pytest.mark.parametrize(
    "losses",
    [
        contrast,
        apart,
        lambda h: squared(h) - squared(h).mean(),
        lambda h: squared(h) / squared(h).sum(),
        lambda h: squared(h).sort()[0],
        lambda h: squared(h).cumsum(0),
        lambda h: squared(h) * squared(h).detach().sum(),
        torch.pdist,
        lambda h: torch.corrcoef(h.T).sum(0),
    ],
    ids=["contrast", "apart", "centred", "normalised", "sorted", "cumulated", "scaled", "pairs",
         "correlation"],
)  # fmt: skip
def test_coupled_losses(losses, mode):
    model = Around(torch.sin)
    assert_step(Engine(model, batch_dim=0, mode=mode), model, lambda: losses(model(ROWS)))


def test_coupled_tasks():
    """One task sees each sample alone, the other the batch."""
    model = Around(torch.sin)

    def forward():
        y = model(ROWS)
        return torch.stack([squared(y), squared(y - y.mean(0))], 1)

    assert_step(Engine(model, batch_dim=0), model, forward)


class Sometimes(torch.autograd.Function):
    """A custom node that mixes samples, or not: no walk can see which."""

    @staticmethod
    def forward(ctx, h, mix):
        ctx.mix = mix
        return h + h.roll(1, 0) if mix else h + h

    @staticmethod
    def backward(ctx, grad):
        return (grad + grad.roll(-1, 0) if ctx.mix else grad + grad), None


IDENTITY = torch.eye(B, dtype=torch.float64)
ORDER = torch.tensor([3, 1, 0, 5, 4, 2])
SAME = torch.arange(B)
NOBODY, SOME = torch.zeros(B, 1, dtype=torch.bool), SAME[:, None] % 2 == 0
# What is between the layers, from the hidden tensor and a state; then the states one after another.
CHANGES = {
    "gate opens": (lambda h, gate: h + gate * (MIX @ h), [0.0, 0.5]),
    "gate closes": (lambda h, gate: h + gate * (MIX @ h), [0.5, 0.0, 0.1]),
    "mixture": (lambda h, mix: mix @ h, [IDENTITY, MIX, IDENTITY]),
    "mixture of zeros": (lambda h, mix: h + mix @ h, [0 * MIX, MIX]),
    "batched mixture": (lambda h, mix: (mix @ h[None])[0], [IDENTITY[None], MIX[None]]),
    "diagonal mixture": (lambda h, mix: mix @ h, [torch.diag(x(B)), MIX]),
    "order": (lambda h, order: h[order], [SAME, ORDER, SAME]),
    "order of a part": (lambda h, order: h + h[order], [SAME, ORDER]),
    "index_select": (lambda h, order: h.index_select(0, order), [SAME, ORDER]),
    "index_add": (lambda h, order: h.index_add(0, order, h), [SAME, ORDER]),
    "gather": (lambda h, order: h.gather(0, order[:, None].expand(-1, B)), [SAME, ORDER]),
    "scatter": (lambda h, order: h.scatter_add(0, order[:, None].expand(-1, B), h), [SAME, ORDER]),
    "mask of the neighbour": (lambda h, mask: torch.where(mask, h.flip(0), h), [NOBODY, SOME]),
    "product of the neighbour": (lambda h, mask: h + mask * h.flip(0), [NOBODY, SOME]),
    "masked attention": (
        lambda h, mask: (h @ h.T).masked_fill(mask, -torch.inf).softmax(1) @ h,
        [IDENTITY == 0, IDENTITY == 2],
    ),
    "roll": (lambda h, step: h.roll(step, 0), [0, 1]),
    "custom function": (Sometimes.apply, [False, True, False]),
    "batch norm's gain": (
        lambda h, gain: h + F.batch_norm(h, None, None, gain, None, training=True),
        [torch.zeros(B, dtype=torch.float64), torch.ones(B, dtype=torch.float64)],
    ),
    "batch norm's mode": (
        lambda h, training: F.batch_norm(
            h, h.new_zeros(B), h.new_ones(B), None, None, training=training
        ),
        [False, True, False],
    ),
    "dead units": (lambda h, shift: h + F.relu(MIX @ h + shift), [-1e3, 0.0]),
    "dropped": (
        lambda h, p: h + F.dropout(MIX @ h, p) if p else h + F.dropout(MIX @ h, 1e-9),
        [1.0, 0.0],
    ),
}


@every_mode
@pytest.mark.parametrize("name", CHANGES)
def test_coupling_that_appears_between_two_steps(name, mode):
    between, states = CHANGES[name]
    model = Around(between)
    engine = Engine(model, batch_dim=0, mode=mode)
    for state in states:
        model.between = lambda h, state=state: between(h, state)
        assert_step(engine, model, lambda: squared(model(ROWS)))


@pytest.mark.parametrize("backwards", [False, True], ids=["forth", "back"])
@pytest.mark.parametrize(
    "of",
    [
        lambda h, dim: h.mean(dim),
        lambda h, dim: h.sum(dim),
        lambda h, dim: h.logsumexp(dim),
        lambda h, dim: h.norm(dim=dim),
        lambda h, dim: h.prod(dim),
        lambda h, dim: h.amax(dim),
        lambda h, dim: h.var(dim),
        lambda h, dim: h.softmax(dim)[:, :3],
        lambda h, dim: h.cumsum(dim)[:, :3],
        lambda h, dim: h.flip(dim)[:, :3],
        lambda h, dim: h.roll(2, dim)[:, :3],
        lambda h, dim: h.sort(dim)[0][:, :3],
        lambda h, dim: h.select(dim, 1),
        lambda h, dim: h.narrow(dim, 0, 6).index_select(dim, ORDER),
        lambda h, dim: F.normalize(h, dim=dim),
        lambda h, dim: h.permute(dim, 1 - dim),
        lambda h, dim: torch.einsum("ij,jk->ik" if dim else "ji,jk->ik", h, h),
    ],
    ids=["mean", "sum", "logsumexp", "norm", "prod", "amax", "var", "softmax", "cumsum", "flip",
         "roll", "sort", "select", "index", "normalize", "permute", "einsum"],
)  # fmt: skip
def test_graphs_of_the_same_shapes_along_different_dimensions(of, backwards):
    torch.random.manual_seed(0)
    model = nn.Linear(B, B).double()
    engine = Engine(model, batch_dim=0)
    dims = (0, 1, 0) if backwards else (1, 0, 1)
    for dim in dims:
        assert_step(engine, model, lambda dim=dim: squared(of(model(SQUARE).tanh(), dim).sin()))


@every_mode
@pytest.mark.parametrize("batch_dim", [0, 1])
def test_tokens_by_sample_and_by_time_in_turn(batch_dim, mode):
    """As many time steps as samples, flattened: where a sample's tokens are, no size tells."""
    torch.random.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)).double()
    given = x(16, 4)
    engine = Engine(model, batch_dim=batch_dim, mode=mode)
    for dim in (0, 1, 0):
        assert_step(
            engine,
            model,
            lambda dim=dim: (
                squared(model(given).view(4, 4, 4), dim)
                if batch_dim == 0
                else model(given).view(4, 4, 4).pow(2).sum(2 * dim)
            ),
        )


@pytest.mark.parametrize("kind", ["lstm", "encoder"])
def test_batch_first_and_second_in_turn(kind):
    torch.random.manual_seed(0)
    cube = x(4, 4, 4)
    if kind == "lstm":
        model = nn.LSTM(4, 4).double()
    else:
        model = nn.TransformerEncoderLayer(4, 2, 4, 0.0).double()
    engine = Engine(model, batch_dim=0)
    for batch_first in (True, False, True):
        if kind == "lstm":
            model.batch_first = batch_first
        else:
            model.self_attn.batch_first = batch_first
        for dim in (0, 1):  # losses by what is the batch, then by what is not
            assert_step(
                engine,
                model,
                lambda dim=dim: squared(model(cube)[0] if kind == "lstm" else model(cube), dim),
            )


@every_mode
def test_train_and_eval_in_turn(mode):
    model = Around(nn.Sequential(nn.BatchNorm1d(B), nn.Dropout(0.0)))
    engine = Engine(model, batch_dim=0, mode=mode)
    for training in (False, True, False, True):
        model.train(training)
        right = [buffer.clone() for buffer in model.buffers()]
        assert_step(engine, model, lambda: squared(model(ROWS)))
        if not training:
            assert all(torch.equal(b, r) for b, r in zip(model.buffers(), right, strict=True))


@every_mode
@pytest.mark.parametrize("between", [torch.sin, COUPLED["centred"]], ids=["apart", "centred"])
def test_losses_that_are_zero_at_first(between, mode):
    model = Around(between)
    engine = Engine(model, batch_dim=0, mode=mode)
    margin = -1e3

    def hinge():
        y = model(ROWS)
        return F.relu(margin + y * target(y).sign()).sum(1)

    losses = hinge()
    assert not losses.any()
    assert not engine.compute_gramian(losses).any()
    margin = 2.0
    assert_step(engine, model, hinge)


@every_mode
@pytest.mark.parametrize("first", [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [1, 1, 1, 0, 1, 1]])
@pytest.mark.parametrize("between", [torch.sin, COUPLED["centred"]], ids=["apart", "centred"])
def test_samples_that_do_not_count_at_first(between, first, mode):
    model = Around(between)
    engine = Engine(model, batch_dim=0, mode=mode)
    for mask in (first, [1] * B):
        weights = torch.tensor(mask, dtype=torch.float64)
        assert_step(engine, model, lambda weights=weights: squared(model(ROWS)) * weights)


@every_mode
def test_batches_and_sequences_of_changing_sizes(mode):
    torch.random.manual_seed(0)
    model = nn.Sequential(
        nn.TransformerEncoderLayer(6, 2, 5, 0.0, batch_first=True), nn.Linear(6, 2)
    ).double()
    engine = Engine(model, batch_dim=0, mode=mode)
    for n, length in [(4, 3), (4, 4), (3, 4), (1, 4), (4, 1), (1, 1), (4, 3)]:
        given = x(n, length, 6)
        assert_step(engine, model, lambda given=given: squared(model(given)))


def test_what_is_not_finite_teaches_nothing():
    model = Around(torch.sin)
    engine = Engine(model, batch_dim=0)
    broken = ROWS.clone()
    broken[1] = torch.nan
    gramian = engine.compute_gramian(squared(model(broken)))
    assert not torch.isfinite(gramian).all()
    assert_step(engine, model, lambda: squared(model(ROWS)))
    model.between = COUPLED["centred"]
    assert_step(engine, model, lambda: squared(model(ROWS)))
