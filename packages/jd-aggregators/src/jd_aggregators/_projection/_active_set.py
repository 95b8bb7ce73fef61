"""An exact active-set method for the projection problem, in torch alone."""

import torch
from torch import Tensor

# Rows whose squared distance to the span of the others is below this many units of rounding count
# as dependent on them.
_DEPENDENT = 16.0


class ActiveSetSolver:
    r"""Solve :math:`\min_{w \ge 0} \tfrac12 w^\top C w + q^\top w` for several :math:`q`.

    The method of Lawson and Hanson ("Solving Least Squares Problems", 1974, chapter 23) in terms of
    the Gramian: one variable at a time enters the passive set, whose equations are solved exactly.
    A row that depends on the passive rows does not join them: along it the objective has no
    curvature, so it takes the place of the first passive row whose weight it brings to zero. That
    keeps the passive rows independent, and :math:`C` may be singular.

    :param C: A correlation matrix of shape ``[m, m]``, float64.
    :param noise: The rounding that entries of ``C`` carry.
    """

    def __init__(self, C: Tensor, noise: float) -> None:
        self._C = C
        self._noise = noise
        self._pivot = _DEPENDENT * noise
        self._factored: tuple[list[int], Tensor, Tensor | None] = ([], C, None)

    def solve(self, q: Tensor, start: Tensor | None = None) -> Tensor:
        """Return the solution for one ``q``.

        :param q: A tensor of shape ``[m]``.
        :param start: Which weights are likely positive, of shape ``[m]``, dtype bool.
        :returns: The weights, of shape ``[m]``, at least 0.
        """
        m = q.shape[0]
        w, passive = self._warm(q, start)
        banned = torch.zeros_like(q, dtype=torch.bool)
        best, best_residual = w, torch.inf
        for _ in range(4 * m + 8):
            z = self._C @ w + q
            candidates = torch.where(banned, torch.inf, z)
            candidates[passive] = torch.inf
            entering = int(candidates.argmin())
            residual = -float(candidates[entering])
            if residual < best_residual:
                best, best_residual = w, residual
            if residual <= self._noise * (1.0 + float(w.sum())):
                return w
            moved = self._enter(w, passive, entering, q, -residual)
            if moved is None:
                banned[entering] = True
            else:
                w, passive = moved
                banned.zero_()
        return best  # rounding made it turn in circles: the least violation that was met

    def _warm(self, q: Tensor, start: Tensor | None) -> tuple[Tensor, list[int]]:
        """Return the solution on as many rows of ``start`` as are independent and get weight."""
        cold: tuple[Tensor, list[int]] = (torch.zeros_like(q), [])
        if start is None:
            return cold
        return self._settle(cold[0], self._independent(start), q) or cold

    def _independent(self, start: Tensor) -> list[int]:
        """Return rows of ``start`` that span the others, by a pivoted Cholesky factorisation."""
        left = start.nonzero().flatten()
        remaining = self._C.index_select(0, left).index_select(1, left).clone()
        chosen: list[int] = []
        for _ in range(len(left)):
            pivot = int(remaining.diagonal().argmax())
            size = float(remaining[pivot, pivot])
            if size <= self._pivot:
                break
            chosen.append(int(left[pivot]))
            column = remaining[:, pivot].clone()
            remaining.addr_(column, column, alpha=-1.0 / size)
            remaining[pivot, pivot] = -1.0
        return chosen

    def _enter(
        self, w: Tensor, passive: list[int], entering: int, q: Tensor, slope: float
    ) -> tuple[Tensor, list[int]] | None:
        """Increase ``w[entering]`` as far as it helps; return the weights and their passive set."""
        across = self._C[passive, entering]
        along = self._factor_solve(passive, across)
        if along is None:
            return None
        curvature = float(self._C[entering, entering] - across @ along)
        dependent = curvature <= self._pivot
        step = torch.inf if dependent else -slope / curvature
        limits = torch.where(along > 0, w[passive] / along, torch.inf)
        limit = float(limits.min()) if passive else torch.inf
        if step == torch.inf and limit == torch.inf:
            return None
        w = w.clone()
        length = min(step, limit)
        w[passive] -= length * along
        w[entering] += length
        passive = [*passive, entering]
        if limit <= step:
            leaving = passive.pop(int(limits.argmin()))
            w[leaving] = 0.0
        return self._settle(w, passive, q)

    def _settle(self, w: Tensor, passive: list[int], q: Tensor) -> tuple[Tensor, list[int]] | None:
        """Move to the solution on ``passive``, dropping the rows whose weights reach zero first."""
        while passive:
            target = self._solve_on(passive, q)
            if target is None:
                return None
            current = w[passive]
            if bool((target > 0).all()):
                w = torch.zeros_like(w)
                w[passive] = target
                return w, passive
            ratios = torch.where(target <= 0, current / (current - target), torch.inf)
            ratio = min(1.0, max(0.0, float(ratios.nan_to_num(nan=0.0).min())))
            current = current + ratio * (target - current)
            leaving = int(torch.where(target <= 0, current, torch.inf).argmin())
            current[leaving] = 0.0
            w = torch.zeros_like(w)
            w[passive] = current.clamp_min(0.0)
            passive = passive[:leaving] + passive[leaving + 1 :]
        return torch.zeros_like(w), passive

    def _solve_on(self, passive: list[int], q: Tensor) -> Tensor | None:
        return self._factor_solve(passive, -q[passive])

    def _factor_solve(self, passive: list[int], rhs: Tensor) -> Tensor | None:
        """Solve with the passive block of C, refined once; None if its rows are dependent."""
        if not passive:
            return rhs
        block, factor = self._factor(passive)
        if factor is None:
            return None
        x = torch.cholesky_solve(rhs[:, None], factor)
        x = x + torch.cholesky_solve(rhs[:, None] - block @ x, factor)
        return x[:, 0]

    def _factor(self, passive: list[int]) -> tuple[Tensor, Tensor | None]:
        """Return the passive block of C and its Cholesky factor, kept until the set changes."""
        if passive != self._factored[0]:
            index = torch.tensor(passive, device=self._C.device)
            block = self._C.index_select(0, index).index_select(1, index)
            factor, info = torch.linalg.cholesky_ex(block)
            singular = int(info) or float(factor.diagonal().min()) ** 2 <= self._noise
            self._factored = (list(passive), block, None if singular else factor)
        return self._factored[1:]
