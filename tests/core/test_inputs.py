"""What methods need beside the Jacobian: the engines supply it, or name what is missing."""

import pytest
import torch
from torch import nn

import torchjd
from torchjd.aggregation import (
    Aggregator,
    GramianWeightedAggregator,
    GramianWeighting,
    MatrixWeighting,
    WeightedAggregator,
)
from torchjd.aggregation._methods import _row
from torchjd.autogram import Engine
from torchjd.autojac import backward, jac, jac_to_grad
from torchjd.linalg import cross_gramian
from torchjd.testing import assert_close


class OfLosses(GramianWeighting):
    """Weigh each objective by its value."""

    needs_losses = True

    def forward(self, gramian, /, *, losses):
        self.seen = losses
        return losses.to(gramian)


class OfTwoBatches(MatrixWeighting):
    """Weigh each objective by its row of the Gramian across batches."""

    needs = "cross gramian"

    def forward(self, cross, /):
        return cross.sum(dim=1)


class Counting(OfTwoBatches):
    """Remember how often it was called."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, cross, /):
        self.calls += 1
        return super().forward(cross)


class OfTheirNumber(MatrixWeighting):
    """Weigh each objective the same."""

    needs = "row count"

    def forward(self, matrix, /):
        return torch.full((len(matrix),), 1.0 / len(matrix))


class OfRows(MatrixWeighting):
    """Weigh each objective by the first entry of its row."""

    def forward(self, matrix, /):
        return matrix[:, 0]


def loss_values():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    return x, torch.stack([3 * x.sum(), x.prod()])


VALUES = torch.tensor([9.0, 2.0])
GRADIENTS = torch.tensor([[3.0, 3.0], [2.0, 1.0]])


def test_backward_supplies_the_losses():
    x, losses = loss_values()
    weights = torchjd.backward(losses, [x], GramianWeightedAggregator(OfLosses()))
    assert_close(weights, VALUES)
    assert_close(x.grad, VALUES @ GRADIENTS)


def test_backward_takes_losses_from_iterators_too():
    x, losses = loss_values()
    weights = torchjd.backward(iter(losses), iter([x]), GramianWeightedAggregator(OfLosses()))
    assert_close(weights, VALUES)


def test_the_value_of_a_row_with_a_cotangent_is_what_it_is_the_gradient_of():
    x, losses = loss_values()
    mix = torch.tensor([[1.0, 1.0], [0.0, 2.0], [1.0, -1.0]])
    aggregator = GramianWeightedAggregator(OfLosses())
    weights = torchjd.backward(losses, [x], aggregator, jac_tensors=mix)
    assert_close(weights, mix @ VALUES)


def test_mtl_backward_supplies_the_losses():
    x, losses = loss_values()
    features = 1.0 * x
    losses = [3 * features.sum(), features.prod()]
    weights = torchjd.mtl_backward(losses, features, GramianWeightedAggregator(OfLosses()))
    assert_close(weights, VALUES)


def test_jac_to_grad_takes_the_losses():
    x, losses = loss_values()
    backward(losses)
    jac_to_grad([x], GramianWeightedAggregator(OfLosses()), losses=losses)
    assert_close(x.grad, VALUES @ GRADIENTS)


def test_losses_may_be_a_list_and_are_ignored_where_they_are_not_needed():
    x, losses = loss_values()
    backward(losses)
    jac_to_grad([x], WeightedAggregator(OfRows()), losses=list(losses))
    assert_close(x.grad, GRADIENTS[:, 0] @ GRADIENTS)


def test_the_gramian_engine_supplies_the_losses():
    model = nn.Linear(2, 3)
    losses = model(torch.ones(4, 2)).square().sum(dim=1)
    weighting = OfLosses()
    assert_close(Engine(model).backward(losses, weighting), losses)
    assert not weighting.seen.requires_grad


def test_the_gramian_across_batches_comes_from_two_jacobians():
    model = nn.Linear(2, 2)
    batches = torch.arange(8.0).view(2, 2, 2)
    jacobians = [
        jac(model(batch).square().mean(dim=0), list(model.parameters())) for batch in batches
    ]
    cross = cross_gramian(*jacobians)
    losses = model(batches[0]).square().mean(dim=0)
    weights = torchjd.backward(
        losses, list(model.parameters()), WeightedAggregator(OfTwoBatches()), cross_gramian=cross
    )
    assert_close(weights, cross.sum(dim=1))
    expected = [weights @ j.flatten(1) for j in jacobians[0]]
    for param, part in zip(model.parameters(), expected, strict=True):
        assert_close(param.grad.flatten(), part, scale=float(part.abs().max()))
    losses = model(batches[0]).square().mean(dim=0)
    again = Engine(model, batch_dim=None).backward(losses, OfTwoBatches(), cross_gramian=cross)
    assert_close(again.float(), weights)


def test_the_engine_computes_no_gramian_that_nobody_reads(monkeypatch):
    model = nn.Linear(2, 3)
    engine = Engine(model)
    monkeypatch.setattr(engine, "_execute", None)
    losses = model(torch.ones(4, 2)).square().sum(dim=1)
    weights = engine.backward(losses, OfTheirNumber())
    assert_close(weights, torch.full((4,), 0.25))
    assert model.weight.grad is not None


def step(x, losses, **extra):
    return [
        lambda a: torchjd.backward(losses, [x], a, retain_graph=True, **extra),
        lambda a: torchjd.mtl_backward(list(losses), x, a, retain_graph=True, **extra),
        lambda a: jac_to_grad([x], a, **extra),
        lambda a: a(GRADIENTS, **extra),
    ]


@pytest.mark.parametrize("which", range(4))
def test_a_missing_gramian_across_batches_is_named(which):
    x, losses = loss_values()
    aggregator = WeightedAggregator(OfTwoBatches())
    with pytest.raises(TypeError, match=r"`cross_gramian` must be given.*linalg.cross_gramian"):
        step(x, losses)[which](aggregator)
    assert x.grad is None


@pytest.mark.parametrize("which", [2, 3])
def test_missing_losses_are_named(which):
    x, losses = loss_values()
    with pytest.raises(TypeError, match=r"`losses` must be given: .* reads the value"):
        step(x, losses)[which](GramianWeightedAggregator(OfLosses()))


@pytest.mark.parametrize(
    ("losses", "error", "match"),
    [
        (torch.ones(3), ValueError, "`losses` must have one element per objective, 2. Got 3"),
        (
            torch.ones(2).int(),
            TypeError,
            "`losses` must be floating-point tensors. Got torch.int32",
        ),
        ([1.0, 2.0], TypeError, "`losses` must be floating-point tensors. Got float"),
        (1.0, TypeError, "`losses` must be floating-point tensors. Got float"),
    ],
)
def test_losses_that_do_not_fit_are_refused(losses, error, match):
    x, values = loss_values()
    backward(values)
    with pytest.raises(error, match=match):
        jac_to_grad([x], GramianWeightedAggregator(OfLosses()), losses=losses)
    assert x.grad is None
    assert x.jac is not None


@pytest.mark.parametrize(
    ("cross", "error", "match"),
    [
        (torch.ones(3, 3), ValueError, r"`cross_gramian` must have shape \[2, 2\]. Got \[3, 3\]"),
        (torch.ones(2, 2).int(), TypeError, "`cross_gramian` must be a floating-point tensor"),
        ([[1.0]], TypeError, "`cross_gramian` must be a floating-point tensor. Got list"),
    ],
)
def test_a_gramian_across_batches_that_does_not_fit_is_refused(cross, error, match):
    with pytest.raises(error, match=match):
        WeightedAggregator(OfTwoBatches())(GRADIENTS, cross_gramian=cross)


def test_the_engine_refuses_a_weighting_that_reads_the_jacobian():
    model = nn.Linear(2, 3)
    losses = model(torch.ones(4, 2)).square().sum(dim=1)
    with pytest.raises(TypeError, match=r"`weighting` must work from a Gramian\. Got OfRows"):
        Engine(model).backward(losses, OfRows())


def test_an_aggregator_of_its_own_declares_losses_too():
    class Worst(Aggregator):
        needs_losses = True

        def forward(self, matrix, /, *, losses):
            return matrix[losses.argmax()]

    x, losses = loss_values()
    torchjd.backward(losses, [x], Worst())
    assert_close(x.grad, GRADIENTS[0])


class Inverse(GramianWeighting):
    """Weigh each row by the inverse of its length: the weights shrink as the rows grow."""

    degree = -1.0

    def forward(self, gramian, /):
        return gramian.diagonal().rsqrt()


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e200])
def test_a_declared_degree_takes_out_the_scale(scale):
    matrix = scale * GRADIENTS.double()
    aggregator = GramianWeightedAggregator(Inverse())
    expected = (GRADIENTS / GRADIENTS.norm(dim=1, keepdim=True)).sum(dim=0).double()
    assert aggregator.degree == 0.0
    assert_close(aggregator(matrix).float(), expected.float())
    for parts, weights in (
        aggregator.aggregate_blocks([matrix]),
        aggregator.aggregate_whole([matrix]),
    ):
        assert_close(parts[0].float(), expected.float())
        assert_close((weights * scale).float(), (1 / GRADIENTS.norm(dim=1)).float())


@pytest.mark.parametrize("degree", [-1.0, -1])
def test_the_table_of_methods_tells_the_law_of_scale(degree):
    own = type("Own", (Inverse,), {"degree": degree})
    assert _row("Own", own, None, own).scaling == "1"


def test_without_a_declared_degree_the_gramian_is_what_it_says():
    class Plain(GramianWeighting):
        def forward(self, gramian, /):
            return gramian.diagonal().rsqrt()

    aggregator = GramianWeightedAggregator(Plain())
    assert aggregator.degree is None
    matrix = 1e120 * GRADIENTS.double()
    assert_close(aggregator(matrix), (matrix / matrix.norm(dim=1, keepdim=True)).sum(dim=0))
    # Beyond the range of float64 there is no Gramian to be had: not finite, and not wrong.
    assert aggregator(1e200 * GRADIENTS.double()).isnan().all()


def test_losses_may_be_a_generator_of_several_dtypes():
    x, losses = loss_values()
    backward(losses)
    values = (value.to(d) for value, d in zip(losses, (torch.float16, torch.float64), strict=True))
    weights = jac_to_grad([x], GramianWeightedAggregator(OfLosses()), losses=values)
    assert_close(weights, VALUES)


@pytest.mark.parametrize("whole", [None, False])
def test_an_aggregator_need_not_know_of_inputs_that_it_has_no_use_for(whole):
    class Own(Aggregator):
        def forward(self, matrix, /):
            return matrix.mean(dim=0)

        def aggregate_blocks(self, blocks):
            return [block.mean(dim=0) for block in blocks], None

    x, losses = loss_values()
    backward(losses)
    jac_to_grad([x], Own(), optimize_gramian_computation=whole)
    assert_close(x.grad, GRADIENTS.mean(dim=0))
    x, losses = loss_values()
    torchjd.backward(losses, [x], Own())
    assert_close(x.grad, GRADIENTS.mean(dim=0))


def test_autocast_does_not_round_the_value_of_a_row_with_a_cotangent():
    x = torch.tensor([1.001, 2.003], requires_grad=True)
    mix = torch.tensor([[1.003, 1.005], [0.007, 2.009]])
    aggregator = GramianWeightedAggregator(OfLosses())
    with torch.autocast("cpu", torch.bfloat16):
        weights = torchjd.backward(1.0 * x, [x], aggregator, jac_tensors=mix)
    assert_close(weights, mix @ x)


def test_the_engine_takes_a_single_loss_without_dimensions():
    model = nn.Linear(2, 3)
    engine = Engine(model, batch_dim=None)
    loss = model(torch.ones(4, 2)).square().mean()
    grads = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    gramian = engine.compute_gramian(loss)
    assert_close(gramian, sum(grad.square().sum() for grad in grads))
    assert_close(engine.backward(loss, torch.ones_like), torch.ones(()))
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert_close(parameter.grad, grad)


@pytest.mark.parametrize(
    ("cross", "error", "match"),
    [
        (torch.eye(4), ValueError, r"`cross_gramian` must have shape \[3, 3\]. Got \[4, 4\]"),
        ([[1.0]], TypeError, "`cross_gramian` must be a floating-point tensor. Got list"),
    ],
)
def test_what_the_engine_refuses_is_not_remembered(cross, error, match):
    weighting = Counting()
    model = nn.Linear(2, 3)
    losses = model(torch.ones(3, 2)).square().sum(dim=1)
    with pytest.raises(error, match=match):
        Engine(model).backward(losses, weighting, cross_gramian=cross)
    assert model.weight.grad is None
    assert weighting.calls == 0


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_the_engine_gives_the_weights_the_shape_of_the_losses(shape):
    model = nn.Linear(2, 3)
    losses = model(torch.ones(2, 2)).square().view(shape)
    cross = torch.arange(36.0).view(6, 6)
    weights = Engine(model).backward(losses, OfTwoBatches(), cross_gramian=cross)
    assert_close(weights, cross.sum(dim=1).view(shape))


def test_a_compiled_weighting_needs_what_it_needs():
    torch.compiler.reset()
    model = nn.Linear(2, 3)
    engine = Engine(model)
    losses = model(torch.ones(4, 2)).square().sum(dim=1)
    compiled = torch.compile(OfTwoBatches(), backend="eager")
    with pytest.raises(TypeError, match="`cross_gramian` must be given"):
        engine.backward(losses, compiled)
    compiled = torch.compile(OfLosses(), backend="eager")
    assert_close(engine.backward(losses, compiled), losses)


@pytest.mark.parametrize("name", ["first", "second"])
def test_two_jacobians_are_sequences(name):
    jacobians = {"first": [GRADIENTS], "second": [GRADIENTS]} | {name: GRADIENTS}
    with pytest.raises(TypeError, match=rf"`{name}` must be a sequence of tensors.*Got Tensor"):
        cross_gramian(**jacobians)
