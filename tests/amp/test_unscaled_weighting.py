"""Weights of scaled losses: those of the losses themselves."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD

from jd_amp import JacobianScaler, UnscaledWeighting
from torchjd import Stateful
from torchjd.aggregation import GeneralizedWeighting, GramianWeighting, MatrixWeighting, Weighting
from torchjd.autogram import Engine
from torchjd.linalg import flatten_gramian
from torchjd.testing import assert_close

from .methods import OfLosses, Shrinking
from .tasks import in_use, stock

INPUTS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Remembering(GramianWeighting):
    """The same weights for all, and how often they were asked for."""

    degree = 0.0

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def reset(self):
        self.calls.zero_()

    def forward(self, gramian, /):
        self.calls += 1
        return gramian.new_ones(len(gramian)).nan_to_num()


class Flat(GeneralizedWeighting):
    """A weighting of vectors, for losses of any shape."""

    def __init__(self, weighting):
        super().__init__()
        self.weighting = weighting
        self.needs_losses = weighting.needs_losses

    def forward(self, gramian, /, *, losses=None):
        shape = gramian.shape[: gramian.ndim // 2]
        return self.weighting(flatten_gramian(gramian), losses=losses).reshape(shape)


class Count(Weighting):
    needs = "row count"

    def forward(self, stat, /):
        return stat.new_full((len(stat),), 0.5)


class Across(Weighting):
    """Weights from a Gramian across two batches."""

    needs = "cross gramian"

    def forward(self, stat, /):
        return 1.0 / (0.1 + stat.diagonal())


def model():
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def losses_of(net, several):
    losses = (net(INPUTS) - INPUTS.sum(dim=1, keepdim=True)).square()
    return losses if several else losses.sum(dim=1)


CASES = {
    "Gramian": (Shrinking, False),
    "Gramian, losses": (OfLosses, False),
    "generalized": (lambda: Flat(Shrinking()), True),
    "generalized, losses": (lambda: Flat(OfLosses()), True),
    "row count": (Count, False),
    "cross Gramian": (Across, False),
}


def both(name, scaler):
    """Return weights and gradients, without a scaler and with it, and the scale."""
    make, several = CASES[name]
    found = []
    for weighting in (make(), UnscaledWeighting(make(), scaler)):
        net = model()
        losses = losses_of(net, several)
        scaled = losses if not found else scaler.scale(losses)
        extra = {"cross_gramian": torch.eye(6) * 3.0} if make is Across else {}
        weights = Engine(net).backward(scaled, weighting, **extra)
        found.append((weights, [p.grad for p in net.parameters()]))
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scaler", [stock(init_scale=2.0**16), JacobianScaler("cpu")])
def test_weights_and_gradients_are_those_without_a_scaler(name, scaler):
    (weights, grads), (found, scaled) = both(name, scaler)
    scale = 1.0 if isinstance(scaler, JacobianScaler) else 2.0**16
    assert_close(found, weights)
    for one, other in zip(scaled, grads, strict=True):
        assert_close(one / scale, other)


def test_a_scale_whose_square_is_beyond_float32():
    gramian = torch.tensor([[1.0, 0.5], [0.5, 2.0]]) * 2.0**-10
    scaler = in_use(stock(init_scale=2.0**65))
    weights = UnscaledWeighting(Shrinking(), scaler)(gramian.double().mul(2.0**130).float())
    assert torch.equal(weights, Shrinking()(gramian))


@pytest.mark.parametrize("several", [False, True])
def test_a_gramian_that_is_not_finite_is_skipped(several):
    net, scaler, inner = model(), stock(), Remembering()
    optimizer = SGD(net.parameters(), lr=0.1)
    weighting = UnscaledWeighting(Flat(inner) if several else inner, scaler)
    before = [p.detach().clone() for p in net.parameters()]
    factor = torch.ones(2 if several else 6)
    factor[1] = 1e30
    weights = Engine(net).backward(scaler.scale(losses_of(net, several) * factor), weighting)
    scaler.step(optimizer)
    scaler.update()
    assert bool(weights.isnan().all())
    assert weights.shape == ((6, 2) if several else (6,))
    assert inner.calls == 0
    assert all(map(torch.equal, net.parameters(), before))
    assert scaler.get_scale() == 512.0


def test_losses_that_are_not_finite_give_no_weights():
    weighting = UnscaledWeighting(OfLosses(), in_use(stock()))
    weights = weighting(torch.eye(2), losses=torch.tensor([1.0, torch.inf]))
    assert bool(weights.isnan().all())


def test_a_stock_scaler_that_has_scaled_nothing_is_refused():
    net = model()
    weighting = UnscaledWeighting(Shrinking(), stock())
    with pytest.raises(RuntimeError, match="must have scaled the losses"):
        Engine(net).backward(losses_of(net, False), weighting)


def test_it_needs_what_the_wrapped_weighting_needs():
    inner = Remembering()
    weighting = UnscaledWeighting(inner, stock())
    assert (weighting.needs, weighting.needs_losses, weighting.degree) == ("gramian", False, 0.0)
    inner.needs, inner.needs_losses, inner.degree = "row count", True, None
    assert (weighting.needs, weighting.needs_losses, weighting.degree) == ("row count", True, None)


def test_what_the_wrapped_weighting_remembers_is_saved_and_forgotten_with_it():
    weighting = UnscaledWeighting(Remembering(), in_use(stock()))
    weighting(torch.eye(2))
    state = copy.deepcopy(weighting.state_dict())
    assert [float(value) for value in state.values()] == [1.0]
    assert isinstance(weighting, Stateful)
    weighting.reset()
    assert weighting.weighting.calls == 0
    weighting.load_state_dict(state)
    assert weighting.weighting.calls == 1
    UnscaledWeighting(Shrinking(), stock()).reset()  # which has nothing to forget


def test_it_refuses_what_the_wrapped_weighting_refuses():
    with pytest.raises(ValueError, match="`gramian` must be a Gramian"):
        UnscaledWeighting(Shrinking(), stock())(torch.ones(2, 3))
    with pytest.raises(TypeError, match="`losses` must be given"):
        UnscaledWeighting(OfLosses(), stock())(torch.eye(2))


class OfMatrix(MatrixWeighting):
    def forward(self, matrix, /):
        return matrix.sum(dim=1)


@pytest.mark.parametrize(
    ("weighting", "scaler", "match"),
    [
        (OfMatrix(), stock(), "`weighting` must be a weighting that works.*Got OfMatrix"),
        (Shrinking, stock(), "Got the class Shrinking"),
        (len, stock(), "`weighting` must be a weighting that works from a Gramian"),
        (Shrinking(), None, "`scaler` must be a torch.amp.GradScaler.*Got NoneType"),
    ],
)
def test_refusals(weighting, scaler, match):
    with pytest.raises(TypeError, match=match):
        UnscaledWeighting(weighting, scaler)


def test_it_says_what_it_wraps():
    assert "Shrinking()" in repr(UnscaledWeighting(Shrinking(), stock()))
    assert "scaler=GradScaler" in repr(UnscaledWeighting(Shrinking(), stock()))
