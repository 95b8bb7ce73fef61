"""The interfaces: checks of what goes in and comes out."""

import pytest
import torch

from torchjd import Stateful
from torchjd.aggregation import (
    Aggregator,
    GeneralizedWeighting,
    GramianWeightedAggregator,
    GramianWeighting,
    MatrixWeighting,
    WeightedAggregator,
    WrappingWeighting,
)
from torchjd.testing import assert_close


class First(Aggregator):
    def forward(self, matrix, /):
        return matrix[0]


class Ones(GramianWeighting):
    def forward(self, gramian, /):
        return torch.ones(len(gramian), dtype=gramian.dtype)


class Returns(MatrixWeighting):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, matrix, /):
        return self.value


class Traces(GeneralizedWeighting):
    def forward(self, generalized_gramian, /):
        return torch.ones(generalized_gramian.shape[: generalized_gramian.ndim // 2])


MATRICES = [
    ([[1.0]], TypeError, "`matrix` must be a torch.Tensor. Got list"),
    (torch.ones(2, 2, dtype=torch.int64), TypeError, "`matrix` must have a real.*Got torch.int64"),
    (torch.ones(2, 2, dtype=torch.complex64), TypeError, "Got torch.complex64"),
    (torch.ones(3), ValueError, r"`matrix` must have shape \[m, n\].*Got shape \[3\]"),
    (torch.ones(2, 3, 4), ValueError, r"Got shape \[2, 3, 4\]. Flatten"),
    (torch.ones(0, 3), ValueError, r"`matrix` must have at least one row. Got shape \[0, 3\]"),
]


@pytest.mark.parametrize("method", [First(), Returns(torch.ones(2)), WeightedAggregator(Ones())])
@pytest.mark.parametrize(("matrix", "error", "match"), MATRICES)
def test_matrices(method, matrix, error, match):
    with pytest.raises(error, match=match):
        method(matrix)


def test_gramians_must_be_square():
    with pytest.raises(ValueError, match=r"`gramian` must be a Gramian.*pass `J @ J.T`"):
        Ones()(torch.ones(2, 3))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2, 3), (2,)])
def test_generalized_gramians_must_read_the_same_in_both_directions(shape):
    with pytest.raises(ValueError, match=r"\[d1, ..., dk, dk, ..., d1\]. Got shape"):
        Traces()(torch.ones(shape))
    assert Traces()(torch.ones(2, 3, 3, 2)).shape == (2, 3)


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (torch.ones(3), ValueError, r"`Returns` must return one weight per row.*\[2\]. Got \[3\]"),
        (torch.ones(2, 1), ValueError, r"Got \[2, 1\]"),
        (torch.ones(2, dtype=torch.int64), TypeError, "floating-point tensor.*Got torch.int64"),
        ([1.0, 1.0], TypeError, "floating-point tensor.*Got list"),
    ],
)
def test_weights_are_checked(value, error, match):
    with pytest.raises(error, match=match):
        WeightedAggregator(Returns(value))(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: WeightedAggregator(Ones), "`weighting` must be a Weighting.*Pass an instance"),
        (lambda: WeightedAggregator(First()), "`weighting` must be a Weighting. Got First"),
        (
            lambda: GramianWeightedAggregator(Returns(torch.ones(2))),
            "`gramian_weighting` must be a GramianWeighting. Got Returns",
        ),
        (lambda: GramianWeightedAggregator(First()), "Got First"),
    ],
)
def test_weightings_are_checked(make, match):
    with pytest.raises(TypeError, match=match):
        make()


def test_a_weighting_is_handed_the_gramian_whatever_the_aggregator():
    matrix = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    for aggregator in (WeightedAggregator(Ones()), GramianWeightedAggregator(Ones())):
        assert torch.equal(aggregator(matrix), matrix.sum(dim=0))
    seen = []
    weighting = Ones()
    weighting.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    GramianWeightedAggregator(weighting)(matrix)
    # In float64, and up to a factor: weights do not depend on it.
    (gramian,) = seen
    assert gramian.dtype == torch.float64
    assert torch.allclose(gramian / gramian[1, 1], (matrix @ matrix.T).double())


def test_the_aggregation_can_be_differentiated_with_constant_weights():
    matrix = torch.ones(2, 3, requires_grad=True)
    GramianWeightedAggregator(Ones())(matrix).sum().backward()
    assert torch.equal(matrix.grad, torch.ones(2, 3))


def test_names_and_state():
    assert repr(First()) == "First()"
    assert GramianWeightedAggregator(Ones()).gramian_weighting is not None
    assert not isinstance(First(), Stateful)


@pytest.mark.parametrize("large", [1.0, 1e5])
@pytest.mark.parametrize("pieces", [[300_000], [100_000, 1, 199_999]])
def test_large_jacobians_are_combined_as_exactly_as_their_weights_ask(large, pieces):
    """Weights that cancel one another are summed in float64, however many columns there are."""

    class Given(GramianWeighting):
        degree = 0.0

        def forward(self, gramian, /):
            return torch.tensor([large, 1.0 - large, 0.5], dtype=torch.float64)

    row = torch.randn(300_000, generator=torch.Generator().manual_seed(0))
    matrix = torch.stack([row, row, row.flip(0)])
    expected = row.double() + 0.5 * row.flip(0).double()
    parts, _ = GramianWeightedAggregator(Given()).aggregate_blocks(torch.split(matrix, pieces, 1))
    assert_close(torch.cat(parts), expected)
    assert float((torch.cat(parts).double() - expected).abs().max()) < 3e-6


class Twice(WrappingWeighting):
    def forward(self, stat, /, *, losses=None):
        return 2 * self.weighting(stat, losses=losses)


class Remembered(GramianWeighting):
    needs_losses, degree = True, -2.0

    def __init__(self):
        super().__init__()
        self.reset()

    def reset(self):
        self.calls = 0

    def forward(self, gramian, /, *, losses):
        self.calls += 1
        return losses


def test_a_wrapper_declares_and_refuses_what_the_wrapped_one_does():
    inner = Remembered()
    outer = Twice(inner)
    assert (outer.needs, outer.needs_losses, outer.degree) == ("gramian", True, -2.0)
    assert outer(torch.eye(2), losses=torch.tensor([1.0, 3.0])).tolist() == [2.0, 6.0]
    with pytest.raises(ValueError, match="`gramian` must be a Gramian, of shape"):
        outer(torch.ones(2, 3), losses=torch.ones(2))
    with pytest.raises(ValueError, match="`losses` must have one element per objective, 2"):
        outer(torch.eye(2), losses=torch.ones(3))
    assert isinstance(outer, Stateful)
    outer.reset()
    assert inner.calls == 0
    assert repr(outer) == "Twice(Remembered())"


def test_a_wrapper_counts_the_losses_of_a_generalized_gramian():
    generalized = torch.eye(6).view(2, 3, 2, 3).movedim(2, 3)

    class Losses(GeneralizedWeighting):
        needs_losses = True

        def forward(self, generalized_gramian, /, *, losses):
            return losses.view(generalized_gramian.shape[:2])

    weights = Twice(Losses())(generalized, losses=torch.arange(6.0))
    assert weights.tolist() == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]


@pytest.mark.parametrize(
    ("wrong", "found"), [(Ones, "the class Ones"), (First(), "First"), (3, "int")]
)
def test_a_wrapper_needs_a_weighting(wrong, found):
    with pytest.raises(TypeError, match=f"`weighting` must be a Weighting. Got {found}"):
        Twice(wrong)
