"""Mathematical properties of aggregators, as functions that raise AssertionError.

Each call is made on a copy of the aggregator: what it remembers, or draws, is the same each time.
What it needs beside the matrix, losses or the Gramian across two batches, is made up.

Where two results are to agree, they do so up to the tolerance of the dtype, or to some times what
the aggregator itself makes of a change of the matrix by its rounding: a method whose update has a
given length magnifies it where rows nearly cancel, whatever the order of its sums.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, WeightedAggregator

from ._feeding import call_copy, cross_gramian_of, losses_of, stat_of
from ._tolerances import assert_close, tolerance

SCALES = (2.0**-100, 2.0**-10, 2.0**27, 2.0**100)
"""The factors, from 1e-30 to 1e30, under which a homogeneous method must scale with its input.

Powers of two: the rows that are multiplied by them are those rows still, not their neighbours.
"""

_REACTIONS = 50.0


def longest_row(matrix: Tensor) -> float:
    """Return the length of the longest row, in float64; 1 for a matrix of zeros."""
    length = float(matrix.detach().to(torch.float64).norm(dim=1).max())
    return length if length > 0 else 1.0


def assert_no_conflict(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`g_i \cdot d \ge -\epsilon \|g_i\| \max_j \|g_j\|` for every row.

    With :math:`d` the aggregation and :math:`\epsilon` the tolerance of the dtype: to first order,
    a step along :math:`-d` makes no objective worse.
    """
    rows = matrix.detach().to(torch.float64)
    update = call_copy(aggregator, matrix).detach().to(torch.float64)
    allowed = -tolerance(matrix.dtype) * rows.norm(dim=1) * longest_row(matrix)
    products = rows @ update
    worst = int((products - allowed).argmin())
    assert bool((products >= allowed).all()), (
        f"row {worst} conflicts: inner product {float(products[worst]):.3g}, "
        f"at least {float(allowed[worst]):.3g} required"
    )


def assert_permutation_invariant(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`\mathcal{A}(P J) = \mathcal{A}(J)` for reversed and for rolled rows."""
    expected = call_copy(aggregator, matrix)
    losses = losses_of(matrix)
    m = matrix.shape[0]
    for order in (torch.arange(m).flip(0), torch.arange(m).roll(1)):
        found = call_copy(aggregator, matrix[order], losses[order])
        _assert_agree(found, expected, aggregator, matrix)


def assert_homogeneous(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`\mathcal{A}(s J) = s^k \mathcal{A}(J)` for s from 1e-30 to 1e30.

    With k the ``degree`` of the aggregator, 1 if it declares none.
    """
    degree = 1.0 if aggregator.degree is None else aggregator.degree
    expected = call_copy(aggregator, matrix).detach().to(torch.float64)
    size = longest_row(matrix) if degree == 1.0 else float(expected.norm()) or 1.0
    for scale in SCALES:
        scaled = call_copy(aggregator, scale * matrix).detach().to(torch.float64)
        found = (scaled / scale**degree).to(matrix.dtype)
        _assert_agree(found, expected, aggregator, matrix, size)


def assert_linear_under_scaling(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`c \mapsto \mathcal{A}(\mathrm{diag}(c) J)` is linear where c > 0."""
    m = matrix.shape[0]
    one = torch.linspace(0.5, 2.0, m, dtype=matrix.dtype)
    other = torch.linspace(3.0, 0.1, m, dtype=matrix.dtype)
    separate = call_copy(aggregator, one[:, None] * matrix)
    separate = separate + 2 * call_copy(aggregator, other[:, None] * matrix)
    together = call_copy(aggregator, (one + 2 * other)[:, None] * matrix)
    assert_close(together, separate, scale=8 * longest_row(matrix))


def assert_weights_agree(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`w^\top J = \mathcal{A}(J)`, with the weights of its weighting.

    For aggregators without weights there is nothing to assert.
    """
    if not isinstance(aggregator, WeightedAggregator):
        return
    weighting = copy.deepcopy(aggregator.weighting)
    weights = weighting(stat_of(weighting, matrix), losses=losses_of(matrix))
    assert weights.shape == matrix.shape[:1], f"weights of shape {list(weights.shape)}"
    expected = weights.to(matrix.dtype) @ matrix
    _assert_agree(call_copy(aggregator, matrix), expected, aggregator, matrix)


def assert_blocks_agree(aggregator: Aggregator, matrix: Tensor, sizes: Sequence[int]) -> None:
    """Assert that aggregating blocks of columns gives the parts of the whole, in own storage."""
    blocks = list(torch.split(matrix, list(sizes), dim=1))
    expected = torch.split(call_copy(aggregator, matrix), list(sizes))
    by_blocks, as_whole = copy.deepcopy(aggregator), copy.deepcopy(aggregator)
    given = {"losses": losses_of(matrix), "cross_gramian": cross_gramian_of(matrix)}
    for parts, _ in (
        by_blocks.aggregate_blocks(blocks, **given),
        as_whole.aggregate_whole(blocks, **given),
    ):
        for part, whole in zip(parts, expected, strict=True):
            assert_close(part, whole, scale=longest_row(matrix))
            assert part.untyped_storage().nbytes() == part.numel() * part.element_size(), (
                "a part shares its storage"
            )


def assert_shape_and_dtype(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that the result has one finite entry per column, of the dtype of ``matrix``."""
    before = matrix.clone()
    update = call_copy(aggregator, matrix)
    assert update.shape == matrix.shape[1:], f"shape {list(update.shape)}"
    assert update.dtype == matrix.dtype, f"dtype {update.dtype}"
    assert bool(torch.isfinite(update).all()), "a finite matrix gave a result that is not finite"
    assert torch.equal(matrix, before), "the matrix was written to"


def assert_zero_of_zero(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that a matrix of zeros, of the shape of ``matrix``, gives zeros."""
    update = call_copy(aggregator, torch.zeros_like(matrix))
    assert bool((update == 0).all()), "zeros gave a result that is not zero"


def assert_non_finite_propagates(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that NaN or infinity in one entry gives a result that is not finite, and no error."""
    for value in (torch.nan, torch.inf, -torch.inf):
        broken = matrix.clone()
        broken[-1, 0] = value
        update = call_copy(aggregator, broken)
        assert not bool(torch.isfinite(update).all()), f"{value} in, a finite result out"


def assert_layout_does_not_matter(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that a transposed, strided or expanded copy of the matrix gives the same result."""
    expected = call_copy(aggregator, matrix)
    spread = torch.stack([matrix, torch.full_like(matrix, torch.nan)], dim=2)[:, :, 0]
    for other in (matrix.T.contiguous().T, spread):
        _assert_agree(call_copy(aggregator, other), expected, aggregator, matrix)


def assert_takes_grad(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that a matrix that requires grad gives the same result."""
    expected = call_copy(aggregator, matrix)
    found = call_copy(aggregator, matrix.clone().requires_grad_())
    assert_close(found, expected, scale=longest_row(matrix))


def assert_compiles(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that the weighting, if there is one, traces whole, and gives the same weights.

    Of an aggregator without weights, that its ``forward`` does.
    """
    own: Any = copy.deepcopy(aggregator)
    losses = losses_of(matrix)
    if isinstance(aggregator, WeightedAggregator):
        own, stat = own.weighting, stat_of(aggregator.weighting, matrix)
        extra = {"losses": losses}
    else:
        own, stat = own.forward, matrix
        extra = {"losses": losses} if aggregator.needs_losses else {}
    torch.compiler.reset()
    compiled: Any = torch.compile(copy.deepcopy(own), fullgraph=True, backend="eager")
    for _ in range(2):  # before and after there is something to remember
        expected = own(stat, **extra)
        size = max(1.0, float(expected.abs().max()))
        assert_close(compiled(stat, **extra), expected, scale=size)


def _assert_agree(
    found: Tensor,
    expected: Tensor,
    aggregator: Aggregator,
    matrix: Tensor,
    size: float | None = None,
) -> None:
    """Assert that two results for what is one matrix, but for rounding, agree."""
    size = longest_row(matrix) if size is None else size
    try:
        assert_close(found, expected, scale=size)
    except AssertionError:
        reach = _REACTIONS * _reaction(aggregator, matrix) / tolerance(matrix.dtype)
        if not 0.0 < reach < float("inf"):
            raise
        assert_close(found, expected, scale=size + reach)


def _reaction(aggregator: Aggregator, matrix: Tensor) -> float:
    """Return by how much the result changes when entries change by their rounding."""
    expected = call_copy(aggregator, matrix).detach().to(torch.float64)
    generator = torch.Generator().manual_seed(0)
    changes = []
    for _ in range(4):
        signs = torch.randn(matrix.shape, generator=generator, dtype=torch.float64).sign()
        moved = matrix.detach() * (1 + 2 * torch.finfo(matrix.dtype).eps * signs).to(matrix.dtype)
        changes.append((call_copy(aggregator, moved).to(torch.float64) - expected).abs().max())
    return float(torch.stack(changes).max())
