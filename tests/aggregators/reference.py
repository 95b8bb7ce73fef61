r"""Projections onto a dual cone in extended precision, each with a bound on its own error.

The projection of :math:`t` onto :math:`\{x \mid A^\top x \ge 0\}` is :math:`x = t + A w`, where
:math:`w \ge 0` minimises :math:`\|t + A w\|`: non-negative least squares. It is solved by the
active-set method of Lawson and Hanson ("Solving Least Squares Problems", 1974, chapter 23), on the
rows of the Jacobian themselves: their Gramian would square the condition number.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from .householder import Array, Mask, dependent, factorise, reflect, reflect_back, substitute

ROUNDING = float(np.finfo(np.longdouble).eps)
# A projection this short, relative to what is projected, is one onto zero.
_NEGLIGIBLE = 1e-14


class Reference(NamedTuple):
    """Projections, one a row, and for each a bound on the length of its error."""

    projections: Array
    bounds: NDArray[np.float64]


def project_rows(matrix: NDArray[np.float64]) -> Reference:
    """Project each row of ``matrix`` onto the dual cone of all its rows."""
    J = np.asarray(matrix, dtype=np.float64).astype(np.longdouble)
    projections, bounds = np.zeros_like(J), np.zeros(len(J))
    lengths = np.sqrt((J**2).sum(axis=1))
    present = np.flatnonzero(lengths)
    if len(present) == 0:
        return Reference(projections, bounds)
    # Powers of two change nothing but the lengths, which become 1/2 to 1.
    exponents = np.frexp(lengths[present])[1]
    rows = np.ldexp(J[present], -exponents[:, None])
    cone = _Cone(*_distinct(rows))
    for i, exponent, t in zip(present, exponents, rows, strict=True):
        x, w = cone.project(t)
        projections[i] = np.ldexp(x, exponent)
        bounds[i] = np.ldexp(cone.error_bound(t, x, w), exponent)
    return Reference(projections, bounds)


def _distinct(rows: Array) -> tuple[Array, Mask]:
    """Return one column of each direction, and whether its opposite is a direction as well."""
    found: dict[bytes, int] = {}
    chosen: list[int] = []
    signs = np.sign([row[np.flatnonzero(row)[0]] for row in rows])
    free: list[bool] = []
    for j, row in enumerate(rows):
        ratios = row / row[np.flatnonzero(row)[0]] + 0.0  # equal in all bits for parallel rows
        upper = ratios.astype(np.float64)
        key = upper.tobytes() + (ratios - upper).astype(np.float64).tobytes()
        k = found.setdefault(key, len(chosen))
        if k == len(chosen):
            chosen.append(j)
            free.append(False)
        free[k] |= bool(signs[j] != signs[chosen[k]])
    return rows[chosen].T, np.array(free)


class _Cone:
    r"""The cone :math:`\{x \mid A^\top x \ge 0\}`; equal to 0 in the components that are free."""

    def __init__(self, A: Array, free: Mask) -> None:
        self.A, self.free = A, free
        self.rounding = max(A.shape) * ROUNDING
        reflectors, self.R = factorise(A)
        self.Q = reflect_back(reflectors, np.eye(len(A), len(self.R), dtype=np.longdouble))
        small = self.R.astype(np.float64)
        self.known: dict[bytes, tuple[list[Array], Array]] = {}
        self.signed = np.concatenate([small, -small[:, free]], axis=1)

    def project(self, t: Array) -> tuple[Array, Array]:
        """Return the projection of ``t`` and its multipliers."""
        target = self.Q.T @ t
        w = self._guess(target)
        passive = self._independent(self.free | (w != 0))
        w[~passive] = 0.0
        x, w, passive = self._descend(target, passive, w)
        refused = np.zeros_like(passive)
        for _ in range(10 * len(w)):
            if np.linalg.norm(x.astype(np.float64)) <= _NEGLIGIBLE:
                break
            z = np.where(passive | refused, 0.0, x @ self.R)
            entering = int(z.argmin())
            if z[entering] >= -4 * self.rounding * np.sqrt(x @ x):
                break
            wider = passive.copy()
            wider[entering] = True
            solved = self._solve(target, wider)
            if solved is None or solved[1][entering] <= 0.0:
                refused[entering] = True  # dependent on the passive columns, up to rounding
                continue
            x, w, passive = self._descend(target, wider, w)
            refused[:] = False
        return (self.Q @ x if passive.any() else t), w

    def _guess(self, target: Array) -> Array:
        w = np.zeros(self.A.shape[1], dtype=np.longdouble)
        try:
            found, _ = nnls(self.signed, -target.astype(np.float64))
        except RuntimeError:  # too many iterations
            return w
        w += found[: len(w)]
        w[self.free] -= found[len(w) :]
        return w

    def _factors(self, columns: Mask) -> tuple[list[Array], Array]:
        key = columns.tobytes()
        if key not in self.known:
            self.known[key] = factorise(self.R[:, columns])
        return self.known[key]

    def _independent(self, columns: Mask) -> Mask:
        """Return a maximal independent subset of the columns, the free ones first."""
        if not dependent(self._factors(columns)[1]).any():
            return columns
        order = np.concatenate([np.flatnonzero(self.free), np.flatnonzero(columns & ~self.free)])
        while len(spanned := np.flatnonzero(dependent(factorise(self.R[:, order])[1]))) > 0:
            order = np.delete(order, spanned[0])
        kept = np.zeros_like(columns)
        kept[order] = True
        return kept

    def _descend(self, target: Array, passive: Mask, w: Array) -> tuple[Array, Array, Mask]:
        """Return the solution on those passive columns whose weights stay positive."""
        passive = passive.copy()
        while True:
            solved = self._solve(target, passive)
            assert solved is not None, "a subset of independent columns is independent"
            x, s = solved
            blocking = passive & ~self.free & (s <= 0.0)
            if not blocking.any():
                return x, s, passive
            steps = np.where(blocking, w / np.where(blocking, w - s, 1.0), 2.0)
            w = w + steps.min() * (s - w)
            passive[blocking & (steps <= steps.min())] = False
            w[~passive] = 0.0

    def _solve(self, target: Array, passive: Mask) -> tuple[Array, Array] | None:
        """Return the least-squares residual and weights; None if the columns are dependent."""
        w = np.zeros(len(passive), dtype=np.longdouble)
        reflectors, R = self._factors(passive)
        size = R.shape[1]
        if dependent(R).any():
            return None
        rotated = reflect(reflectors, target.copy())
        w[passive] = substitute(R, -rotated[:size])
        rotated[:size] = 0.0
        return reflect_back(reflectors, rotated), w

    def error_bound(self, t: Array, x: Array, w: Array) -> float:
        r"""Return a bound on how far ``x`` is from the projection of ``t``, whatever ``x`` is.

        ``x`` is the exact projection of :math:`t' = x - A w` onto
        :math:`\{y \mid A^\top y \ge b\}`, with b equal to :math:`A^\top x` where the weight is not
        0, and to its negative part elsewhere. Projections are nonexpansive in :math:`t`, and move
        by at most :math:`\|b\| / \sigma` as b goes to 0, with :math:`\sigma` the least singular
        value of the columns that may be active on the way.
        """
        if bool((w < 0.0)[~self.free].any()):
            return np.inf
        rounding = self.rounding * (1.0 + float(abs(w).sum()))
        size = float(np.sqrt(x @ x))
        z = x @ self.A
        moved = x - t - self.A @ w
        target = float(np.sqrt(moved @ moved)) + rounding
        b = np.where(self.free | (w != 0), z, np.minimum(z, 0.0))
        lowered = float(np.sqrt(b @ b)) + self.rounding * size * len(w) ** 0.5
        # The projection is the shortest of all t + A w with w at least 0.
        shortest = 2.0 * (size + target)
        near = self.free | (w != 0)
        while True:
            _, R = self._factors(near)
            if dependent(R).any():
                return shortest
            inverse = solve_triangular(R[: R.shape[1]].astype(np.float64), np.eye(R.shape[1]))
            bound = target + lowered * float(np.linalg.norm(inverse)) * 1.01
            wider = near | (z <= bound)
            if bool((wider == near).all()):
                return min(bound, shortest)
            near = wider
