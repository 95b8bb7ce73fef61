"""Aggregation at the level of the features, against the Jacobian of the features by hand."""

import pytest
import torch
from torch import nn

import torchjd
from torchjd.aggregation import Aggregator, GramianWeightedAggregator, GramianWeighting
from torchjd.testing import assert_close

from .test_inputs import OfLosses
from .test_mtl import CLEAN, MODELS, parameters


class OfLengths(GramianWeighting):
    """Weigh each row the less the longer it is."""

    def forward(self, gramian, /):
        return 1.0 / (1.0 + gramian.diagonal())


class Total(Aggregator):
    """The sum of the rows."""

    def forward(self, matrix, /):
        return matrix.sum(dim=0)


def normalized():
    return GramianWeightedAggregator(OfLengths())


REFUSED = sorted(set(MODELS) - CLEAN, key=lambda model: model.__name__)


def expected_step(model, shared, own, aggregator):
    """Return the gradients of shared and own parameters, from one gradient at a time."""
    forward = model(*shared, *own)
    rows, heads = [], [torch.zeros_like(p) for p in own]
    for loss in forward.losses:
        grads = torch.autograd.grad(
            loss, [*forward.features, *own], retain_graph=True, materialize_grads=True
        )
        rows.append(torch.cat([g.flatten() for g in grads[: len(forward.features)]]))
        for head, grad in zip(heads, grads[len(forward.features) :], strict=True):
            head.add_(grad)
    vector = aggregator(torch.stack(rows), losses=torch.stack(forward.losses))
    parts = torch.split(vector, [f.numel() for f in forward.features])
    directions = [p.view(f.shape) for p, f in zip(parts, forward.features, strict=True)]
    pulled = torch.autograd.grad(forward.features, shared, directions, materialize_grads=True)
    return [*pulled, *heads]


@pytest.mark.parametrize("model", sorted(CLEAN, key=lambda m: m.__name__), ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    "aggregator", [normalized(), GramianWeightedAggregator(OfLosses())], ids=["lengths", "losses"]
)
def test_the_features_are_aggregated(model, aggregator):
    shared_shapes, task_shapes, _ = MODELS[model]
    shared, own = parameters(shared_shapes), parameters(task_shapes)
    expected = expected_step(model, shared, own, aggregator)
    forward = model(*shared, *own)
    weights = torchjd.mtl_backward(forward.losses, forward.features, aggregator, level="features")
    assert weights.shape == (len(forward.losses),)
    for parameter, right in zip([*shared, *own], expected, strict=True):
        assert_close(parameter.grad, right)


def test_a_linear_method_sees_no_difference():
    grads = []
    for level in ("parameters", "features"):
        shared, own = parameters([(2, 3)]), parameters([(3, 1), (3, 2)])
        forward = next(m for m in CLEAN if m.__name__ == "two_heads")(*shared, *own)
        torchjd.mtl_backward(forward.losses, forward.features, Total(), level=level)
        grads.append([parameter.grad for parameter in (*shared, *own)])
    for one, other in zip(*grads, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("model", REFUSED, ids=lambda m: m.__name__)
def test_features_that_do_not_carry_everything_are_refused(model):
    shared_shapes, task_shapes, _ = MODELS[model]
    shared, own = parameters(shared_shapes), parameters(task_shapes)
    forward = model(*shared, *own)
    with pytest.raises(ValueError, match=r'`features` must carry all .*level="parameters"'):
        torchjd.mtl_backward(forward.losses, forward.features, normalized(), level="features")
    assert all(parameter.grad is None for parameter in (*shared, *own))
    torchjd.mtl_backward(forward.losses, forward.features, normalized())  # the graph is still there


def test_without_features_there_is_no_such_level():
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match=r'`features` must be given for `level="features"`'):
        torchjd.mtl_backward([weight.sum(), weight.prod()], None, normalized(), level="features")
    assert weight.grad is None


def test_an_unknown_level_is_refused():
    x = torch.ones(2, requires_grad=True)
    features = 2 * x
    with pytest.raises(ValueError, match=r"`level` must be one of .*features\. Got 'deep'"):
        torchjd.mtl_backward([features.sum()], features, normalized(), level="deep")


def test_nothing_is_written_when_the_aggregator_refuses():
    class Refusing(Aggregator):
        def forward(self, matrix, /):
            raise ValueError("no")

    x, head = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    features = 2 * x
    with pytest.raises(ValueError, match="no"):
        torchjd.mtl_backward(
            [features.sum(), features @ head], features, Refusing(), level="features"
        )
    assert x.grad is None
    assert head.grad is None


def test_gradients_accumulate_and_the_graph_can_be_kept():
    shared, first, second = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 1)
    features = shared(torch.ones(5, 3)).tanh()
    losses = [first(features).mean(), second(features).square().mean()]
    grads = []
    for keep in (True, False):
        torchjd.mtl_backward(losses, features, normalized(), level="features", retain_graph=keep)
        grads.append(shared.weight.grad.clone())
    assert_close(grads[1], 2 * grads[0])


def test_the_shared_part_is_gone_through_once():
    passes = []
    x = torch.ones(3, requires_grad=True)
    hidden = x * 2
    hidden.register_hook(passes.append)
    features = hidden.tanh()
    losses = [(features * k).sum() for k in (1.0, -2.0, 3.0)]
    torchjd.mtl_backward(losses, features, normalized(), level="features")
    assert len(passes) == 1


# torch itself looks at the `.grad` of what it compiles for.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_heads_and_trunk():
    def trunk_of(x):
        return (x * 2).tanh()

    def head_of(f):
        return f.square().sum()

    torch.compiler.reset()
    trunk, head = (torch.compile(f, backend="aot_eager") for f in (trunk_of, head_of))
    x, expected = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    features = trunk(x)
    torchjd.mtl_backward([head(features), features.sum()], features, normalized(), level="features")
    features = trunk_of(expected)
    torchjd.mtl_backward(
        [head_of(features), features.sum()], features, normalized(), level="features"
    )
    assert_close(x.grad, expected.grad)
