"""GradDrop: at each coordinate, one sign is kept, drawn by how much it prevails."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchjd.aggregation import Aggregator, Traits
from torchjd.linalg import Matrix

from ._drawing import Drawing
from ._precision import wide
from ._settings import Configured, Setting

# Columns taken at a time: what is made of them stays in the cache, and on other devices small
# beside the Jacobian.
_COLUMNS = {"cpu": 1 << 14}
_COLUMNS_ELSEWHERE = 1 << 20


def identity(purity: Tensor) -> Tensor:
    """Return ``purity`` as it is."""
    return purity


class Chance(Setting[Callable[[Tensor], Tensor]]):
    """From purities to the probabilities that positive values are kept."""

    shown = False

    def checked(self, value: Any) -> Callable[[Tensor], Tensor]:
        """Return ``value``."""
        if not callable(value):
            raise TypeError(
                f"`{self.name}` must be a function of a tensor. Got {type(value).__name__}."
            )
        function: Callable[[Tensor], Tensor] = value
        return function


class Leak(Setting[Tensor | None]):
    """What part of each row is let through as it is; None for nothing."""

    def checked(self, value: Any) -> Tensor | None:
        """Return a copy of ``value``."""
        if value is None:
            return None
        if not isinstance(value, Tensor) or not value.is_floating_point():
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"`{self.name}` must be a floating-point tensor or None. Got {found}.")
        if value.ndim != 1 or value.numel() == 0:
            raise ValueError(
                f"`{self.name}` must have one entry per row, in one dimension. "
                f"Got shape {list(value.shape)}."
            )
        if not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError(f"`{self.name}` must have entries from 0 to 1. Got {value.tolist()}.")
        return value.detach().clone()


class GradDrop(Configured, Drawing, Aggregator):
    r"""The sum of the rows of :math:`J`, of which each coordinate keeps the values of one sign.

    .. math:: P_k = \frac12 \left( 1 + \frac{\sum_i g_{ik}}{\sum_i |g_{ik}|} \right), \qquad
        \mathcal{A}(J)_k = \sum_i \left( \ell_i + (1 - \ell_i) \, M_{ik} \right) g_{ik},

    where :math:`M_{ik}` is 1 if :math:`g_{ik} > 0` and :math:`f(P_k) > u_k`, or
    :math:`g_{ik} < 0` and :math:`f(P_k) < u_k`, and otherwise 0. The draw :math:`u_k` from [0, 1)
    is the same for all rows. The purity :math:`P_k` is 1 where all values are positive and 0 where
    all are negative. Where all are 0, so is the result. Source: Chen et al., "Just Pick a Sign:
    Optimizing Deep Multitask Models with Gradient Sign Dropout", NeurIPS 2020, Algorithm 1, lines
    10 to 15.

    :param f: From purities to the probabilities that positive values are kept: increasing, from
        [0, 1] to [0, 1], and applied to each coordinate for itself. Default: the identity.
    :param leak: The part :math:`\ell` of each row that is let through whatever is drawn, of shape
        ``[m]``, in [0, 1]. Default: nothing.
    :param generator: A generator on the CPU, for results that can be repeated. Default: one that
        is seeded from the system; the global random state is not used.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If ``leak`` is out of range or no vector, or ``generator`` is on another
        device; when called, if ``leak`` does not have ``m`` entries, or ``f`` does not return one
        probability per purity.

    >>> import torch
    >>> from torchjd.aggregation import GradDrop
    >>> J = torch.tensor([[1.0, -1.0, 3.0], [2.0, -4.0, -1.0]])
    >>> result = GradDrop()(J)
    >>> result[:2], result[2] in (3.0, -1.0)
    (tensor([ 3., -5.]), True)
    """

    traits = Traits(permutation=True, random=True, cost="m n", on_device=True)
    degree = 1.0
    f = Chance("From purities to the probabilities that positive values are kept.")
    leak = Leak("What part of each row is let through; None for nothing.")

    def __init__(
        self,
        f: Callable[[Tensor], Tensor] = identity,
        leak: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.f = f
        self.leak = leak

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the aggregation, of shape ``[n]``."""
        m, n = matrix.shape
        if self.leak is not None and len(self.leak) != m:
            raise ValueError(f"`leak` must have one entry per row, {m}. Got {len(self.leak)}.")
        # Wide enough for a draw never to be rounded to 1, which would drop what all rows agree on.
        draws = self.uniform(n, like=matrix.new_empty(0, dtype=wide(matrix)))
        size = _COLUMNS.get(matrix.device.type, _COLUMNS_ELSEWHERE)
        if n <= size:
            return self._drop(matrix, draws)
        kept = matrix.new_empty(n)
        for start in range(0, n, size):
            part = slice(start, start + size)
            kept[part] = self._drop(matrix[:, part], draws[part])
        return kept

    def _drop(self, rows: Tensor, draws: Tensor) -> Tensor:
        """Return the aggregation of some columns, in their dtype."""
        values = rows.to(torch.promote_types(rows.dtype, torch.float32))
        positive, negative = values.clamp(min=0.0), values.clamp(max=0.0)
        up, down = positive.sum(0), negative.sum(0)
        total = up - down
        is_down = self._chance(up / total) < draws
        if self.leak is not None:
            leak = self.leak.to(values.device, values.dtype)[:, None]
            up, down = ((1.0 - leak) * positive).sum(0), ((1.0 - leak) * negative).sum(0)
        kept = torch.where(is_down, down, up)
        kept += total * 0.0  # NaN where a value that was dropped is not finite
        if self.leak is not None:
            kept += (leak * values).sum(0)
        return kept.to(rows.dtype)

    def _chance(self, purity: Tensor) -> Tensor:
        chance = self.f(purity)
        if not isinstance(chance, Tensor) or chance.shape != purity.shape:
            found = list(chance.shape) if isinstance(chance, Tensor) else type(chance).__name__
            raise ValueError(
                f"`f` must return one probability per purity, of shape {list(purity.shape)}. "
                f"Got {found}."
            )
        return chance
