"""Mathematical properties of aggregators, as functions that raise AssertionError.

Each call is made on a copy of the aggregator: what it remembers, or draws, is the same each time.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, GramianWeighting, WeightedAggregator

from ._tolerances import assert_close, tolerance

SCALES = (1e-30, 1e-3, 1e8, 1e30)
"""The factors under which a homogeneous method must scale with its input."""


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
    update = _call(aggregator, matrix).detach().to(torch.float64)
    allowed = -tolerance(matrix.dtype) * rows.norm(dim=1) * longest_row(matrix)
    products = rows @ update
    worst = int((products - allowed).argmin())
    assert bool((products >= allowed).all()), (
        f"row {worst} conflicts: inner product {float(products[worst]):.3g}, "
        f"at least {float(allowed[worst]):.3g} required"
    )


def assert_permutation_invariant(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`\mathcal{A}(P J) = \mathcal{A}(J)` for reversed and for rolled rows."""
    expected = _call(aggregator, matrix)
    for permuted in (matrix.flip(0), matrix.roll(1, 0)):
        assert_close(_call(aggregator, permuted), expected, scale=longest_row(matrix))


def assert_homogeneous(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`\mathcal{A}(s J) = s \mathcal{A}(J)` for s from 1e-30 to 1e30."""
    expected = _call(aggregator, matrix).detach().to(torch.float64)
    for scale in SCALES:
        scaled = _call(aggregator, scale * matrix).detach().to(torch.float64) / scale
        assert_close(scaled.to(matrix.dtype), expected, scale=longest_row(matrix))


def assert_linear_under_scaling(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`c \mapsto \mathcal{A}(\mathrm{diag}(c) J)` is linear where c > 0."""
    m = matrix.shape[0]
    one = torch.linspace(0.5, 2.0, m, dtype=matrix.dtype)
    other = torch.linspace(3.0, 0.1, m, dtype=matrix.dtype)
    separate = _call(aggregator, one[:, None] * matrix)
    separate = separate + 2 * _call(aggregator, other[:, None] * matrix)
    together = _call(aggregator, (one + 2 * other)[:, None] * matrix)
    assert_close(together, separate, scale=8 * longest_row(matrix))


def assert_weights_agree(aggregator: Aggregator, matrix: Tensor) -> None:
    r"""Assert that :math:`w^\top J = \mathcal{A}(J)`, with the weights of its weighting.

    For aggregators without weights there is nothing to assert.
    """
    if not isinstance(aggregator, WeightedAggregator):
        return
    stat = matrix @ matrix.T if isinstance(aggregator.weighting, GramianWeighting) else matrix
    weights = copy.deepcopy(aggregator.weighting)(stat)
    assert weights.shape == matrix.shape[:1], f"weights of shape {list(weights.shape)}"
    expected = weights.to(matrix.dtype) @ matrix
    assert_close(_call(aggregator, matrix), expected, scale=longest_row(matrix))


def assert_blocks_agree(aggregator: Aggregator, matrix: Tensor, sizes: Sequence[int]) -> None:
    """Assert that aggregating blocks of columns gives the parts of the whole, in own storage."""
    blocks = list(torch.split(matrix, list(sizes), dim=1))
    expected = torch.split(_call(aggregator, matrix), list(sizes))
    by_blocks, as_whole = copy.deepcopy(aggregator), copy.deepcopy(aggregator)
    for parts, _ in (by_blocks.aggregate_blocks(blocks), as_whole.aggregate_whole(blocks)):
        for part, whole in zip(parts, expected, strict=True):
            assert_close(part, whole, scale=longest_row(matrix))
            assert part.untyped_storage().nbytes() == part.numel() * part.element_size(), (
                "a part shares its storage"
            )


def assert_shape_and_dtype(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that the result has one finite entry per column, of the dtype of ``matrix``."""
    before = matrix.clone()
    update = _call(aggregator, matrix)
    assert update.shape == matrix.shape[1:], f"shape {list(update.shape)}"
    assert update.dtype == matrix.dtype, f"dtype {update.dtype}"
    assert bool(torch.isfinite(update).all()), "a finite matrix gave a result that is not finite"
    assert torch.equal(matrix, before), "the matrix was written to"


def assert_zero_of_zero(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that a matrix of zeros, of the shape of ``matrix``, gives zeros."""
    update = _call(aggregator, torch.zeros_like(matrix))
    assert bool((update == 0).all()), "zeros gave a result that is not zero"


def assert_non_finite_propagates(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that NaN or infinity in one entry gives a result that is not finite, and no error."""
    for value in (torch.nan, torch.inf, -torch.inf):
        broken = matrix.clone()
        broken[-1, 0] = value
        update = _call(aggregator, broken)
        assert not bool(torch.isfinite(update).all()), f"{value} in, a finite result out"


def assert_layout_does_not_matter(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that a transposed, strided or expanded copy of the matrix gives the same result."""
    expected = _call(aggregator, matrix)
    spread = torch.stack([matrix, torch.full_like(matrix, torch.nan)], dim=2)[:, :, 0]
    for other in (matrix.T.contiguous().T, spread):
        assert_close(_call(aggregator, other), expected, scale=longest_row(matrix))


def assert_takes_grad(aggregator: Aggregator, matrix: Tensor) -> None:
    """Assert that a matrix that requires grad gives the same result."""
    expected = _call(aggregator, matrix)
    found = _call(aggregator, matrix.clone().requires_grad_())
    assert_close(found, expected, scale=longest_row(matrix))


def _call(aggregator: Aggregator, matrix: Tensor) -> Tensor:
    return copy.deepcopy(aggregator)(matrix)
