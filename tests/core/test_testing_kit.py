"""The kit can fail: each property catches an aggregator that lacks it."""

import pytest
import torch

from torchjd.aggregation import Aggregator, GramianWeightedAggregator, GramianWeighting
from torchjd.testing import (
    assert_close,
    conformance,
    dense_jacobian,
    examples,
    numerical_jacobian,
    project_onto_dual_cone,
    tolerance,
)


class Mean(Aggregator):
    def forward(self, matrix, /):
        return matrix.mean(dim=0)


class Change(Mean):
    """The mean, except for what a test changes about it."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, matrix, /):
        return self.change(super().forward(matrix), matrix)


class Counting(Mean):
    """Remembers in a buffer, and forgets to load it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, matrix, /):
        self.count += 1
        return matrix.mean(dim=0) * float(self.count)

    def _load_from_state_dict(self, *args, **kwargs):
        pass


class Shared(Mean):
    calls = 0

    def forward(self, matrix, /):
        Shared.calls += 1
        return matrix.mean(dim=0) * Shared.calls


class Accepts(Mean):
    def __call__(self, matrix, /):
        return torch.as_tensor(matrix, dtype=torch.float64).mean(dim=0)


class Diagonal(GramianWeighting):
    def forward(self, gramian, /):
        return gramian.diagonal()


class Doubled(GramianWeightedAggregator):
    """Does not aggregate with the weights that it says it has."""

    def forward(self, matrix, /):
        return 2.0 * super().forward(matrix)


def write(mean, matrix):
    matrix[0] = 0.0
    return mean


WRONG = [
    ("shape_and_dtype", lambda m: Change(lambda mean, _: mean.repeat(2))),
    ("shape_and_dtype", lambda m: Change(write)),
    ("dtypes", lambda m: Change(lambda mean, _: mean.double())),
    ("zero_of_zero", lambda m: Change(lambda mean, _: mean + 1.0)),
    ("non_finite_propagates", lambda m: Change(lambda mean, _: mean.nan_to_num())),
    ("layout_does_not_matter", lambda m: Change(lambda mean, j: mean * j.stride(1))),
    ("takes_grad", lambda m: Change(lambda mean, j: mean * (1 + j.requires_grad))),
    ("deterministic", lambda m: Change(lambda mean, _: mean * torch.rand(()))),
    ("state_round_trip", lambda m: Counting()),
    ("instances_are_separate", lambda m: Shared()),
    ("refusals", lambda m: Accepts()),
    ("weights_agree", lambda m: Doubled(Diagonal())),
    ("promise: no conflict", lambda m: Mean()),
    ("promise: permutation", lambda m: Change(lambda mean, j: j[0])),
    ("promise: homogeneous", lambda m: Change(lambda mean, j: mean.clamp(-1, 1))),
    ("promise: linear under scaling", lambda m: Change(lambda mean, j: mean / j.norm())),
]


def cases(make):
    promises = {"no conflict", "permutation", "homogeneous", "linear under scaling"}
    return {str(case): case for case in conformance.cases(make, promises=promises)}


@pytest.mark.parametrize(
    ("name", "make"), WRONG, ids=[f"{n}-{i}" for i, (n, _) in enumerate(WRONG)]
)
def test_what_is_wrong_is_caught(name, make):
    Shared.calls = 0
    with pytest.raises(AssertionError, match=r"."):
        cases(make)[name]()


def test_copies_that_differ_are_caught():
    class Forgetful(Mean):
        def __init__(self):
            super().__init__()
            self.factor = 1.0

        def __deepcopy__(self, memo):
            other = type(self)()
            other.factor = 2.0
            return other

        def forward(self, matrix, /):
            return self.factor * matrix.mean(dim=0)

    from torchjd.testing import assert_copies_agree

    globals()["Forgetful"] = Forgetful
    Forgetful.__qualname__ = "Forgetful"
    with pytest.raises(AssertionError, match="a copy gave another result"):
        assert_copies_agree(lambda m: Forgetful(), torch.ones(2, 3))


def test_blocks_that_differ_are_caught():
    class Ignorant(Mean):
        def aggregate_blocks(self, blocks, **extra):
            return [block.mean(dim=0) * 2 for block in blocks], None

    with pytest.raises(AssertionError, match="off by"):
        cases(lambda m: Ignorant())["blocks"]()


def test_what_is_right_passes():
    for name, case in cases(lambda m: Mean()).items():
        if name != "promise: no conflict":
            case()


def test_unknown_promises_are_refused():
    with pytest.raises(ValueError, match=r"`promises` must be among .* Got no conflicts"):
        conformance.cases(lambda m: Mean(), promises={"no conflicts"})


def test_assert_close_shows_the_worst():
    with pytest.raises(AssertionError, match=r"off by 0.5, .* 1.5, not 1, at flat index 1"):
        assert_close(torch.tensor([1.0, 1.5]), torch.tensor([1.0, 1.0]))
    with pytest.raises(AssertionError, match=r"shape \[2\], not \[3\]"):
        assert_close(torch.ones(2), torch.ones(3))
    with pytest.raises(AssertionError, match="nan, not 1"):
        assert_close(torch.tensor([torch.nan]), torch.ones(1))
    assert tolerance(torch.float64) < tolerance(torch.float32) < tolerance(torch.float16)


def test_the_oracles_agree_with_each_other():
    def function(x, y):
        return torch.stack([(x * y).sum(), x.exp().prod() * y.sin().sum()])

    x, y = torch.tensor([0.3, -0.2]), torch.tensor([1.5, 0.7])
    for one, other in zip(
        dense_jacobian(function, [x, y]), numerical_jacobian(function, [x, y]), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-8)


def test_the_projection_oracle_satisfies_the_conditions_of_optimality():
    for _, matrix in examples():
        if len(matrix) > 4:
            continue
        x = torch.linspace(-1.0, 1.0, matrix.shape[1], dtype=torch.float64)
        y = project_onto_dual_cone(x, matrix)
        size = float(matrix.norm())
        assert bool((matrix @ y >= -1e-8 * max(1.0, size)).all())
        # A projection onto a cone: the residual is orthogonal to it, and y is no longer than x.
        assert float((y - x) @ y) == pytest.approx(0.0, abs=1e-8)
        assert float(y.norm()) <= float(x.norm()) + 1e-12


def test_there_are_examples_of_every_structure():
    found = [matrix for _, matrix in examples()]
    assert len(found) == 60
    assert all(matrix.dtype == torch.float64 for matrix in found)
    ranks = [int(torch.linalg.matrix_rank(m)) for m in found]
    assert any(rank < min(m.shape) for rank, m in zip(ranks, found, strict=True))
    assert any(m.shape[0] > m.shape[1] for m in found)
