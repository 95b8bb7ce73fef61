"""The regularised projection of torchjd 0.18, for runs that must be reproduced."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchjd.linalg import DualConeProjector

from ._base import checked, nonnegative


class QuadprogProjector(DualConeProjector):
    r"""Project as PyPI's torchjd 0.18 does, to the last bit: not quite onto the dual cone.

    .. math:: v \in \arg\min_{v \ge u} \; v^\top \left( N + \rho I \right) v, \qquad
        N = \begin{cases} G / \operatorname{tr} G & \text{if } \operatorname{tr} G \ge \nu, \\
        0 & \text{otherwise,} \end{cases}

    with :math:`\rho` for ``reg_eps`` and :math:`\nu` for ``norm_eps``. The answer is not the
    projection: it is that of rows to whose squared lengths :math:`\rho \operatorname{tr} G` has
    been added, so a row much shorter than the others may conflict with it. Where
    :math:`\operatorname{tr} G < \nu`, no projection takes place: negative entries of :math:`u` are
    replaced by 0, and the rows may conflict as they like. Use
    :class:`~jd_aggregators.ExactProjector` unless the numbers of an old run are needed.

    The Gramian is normalised in its own dtype, which is also that of the answer; the solver
    works in float64 on the CPU, to which tensors on other devices are copied. There is no
    ``damping``: ``reg_eps`` is that of this projector, and the residual that
    :meth:`~torchjd.linalg.DualConeProjector.solve` certifies is that of the projection without it.
    An aggregator forms its Gramian in float64, whatever the dtype of the Jacobian: for the last
    digits of a run in float32, give the weighting the Gramian itself.

    Source: torchjd 0.18, measured; the solver is quadprog, by the dual method of Goldfarb and
    Idnani, "A numerically stable dual method for solving strictly convex quadratic programs", 1983.
    It is published under the GPL.

    :param norm_eps: The trace below which the Gramian counts as zero.
    :param reg_eps: What is added to the diagonal of the normalised Gramian, whose sum is 1.
    :raises ImportError: If quadprog is not installed.
    :raises TypeError: If a parameter is no real number.
    :raises ValueError: If a parameter is negative or not finite; when called, if the shapes do not
        fit, or if ``reg_eps`` is too small to make the Gramian positive definite.

    >>> import torch
    >>> from jd_aggregators import QuadprogProjector
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> QuadprogProjector()(torch.eye(2, dtype=torch.float64), J @ J.T)
    tensor([[1.0000, 0.4999],
            [0.9997, 1.0000]], dtype=torch.float64)
    """

    def __init__(self, *, norm_eps: float = 1e-4, reg_eps: float = 1e-4) -> None:
        _solve_qp()
        self.norm_eps = norm_eps
        self.reg_eps = reg_eps

    @property
    def norm_eps(self) -> float:
        """The trace below which the Gramian counts as zero."""
        return self._norm_eps

    @norm_eps.setter
    def norm_eps(self, value: float) -> None:
        self._norm_eps = nonnegative(value, "norm_eps")

    @property
    def reg_eps(self) -> float:
        """What is added to the diagonal of the normalised Gramian."""
        return self._reg_eps

    @reg_eps.setter
    def reg_eps(self, value: float) -> None:
        self._reg_eps = nonnegative(value, "reg_eps")

    def __call__(self, U: Tensor, G: Tensor) -> Tensor:
        r"""Return the weights :math:`V`.

        :param U: The combinations to project, of shape ``[..., k, m]``.
        :param G: The Gramian, of shape ``[..., m, m]``, of the same leading dimensions.
        :returns: A tensor of the shape and device of ``U`` and of the dtype of ``G``, at least
            ``U`` up to rounding. NaN where ``G`` is not finite, or zero although ``norm_eps`` is 0;
            and in the row of a combination that is not finite.
        :raises TypeError: If ``G`` is not of a real floating dtype.
        :raises ValueError: If the shapes do not fit, or ``reg_eps`` is too small for ``G``.
        """
        return self._project(U, G)

    def _project(self, U: Tensor, G: Tensor) -> Tensor:
        if not G.is_floating_point():
            raise TypeError(
                f"`G` must have a real floating dtype. Got {G.dtype}. "
                "Convert it, for instance with `.float()`."
            )
        combinations, gramians = checked(U, G)
        m = G.shape[-1]
        V = torch.full(U.shape, torch.nan, dtype=torch.float64, device="cpu")
        if U.numel() > 0:
            wide = combinations.to("cpu", torch.float64).view(-1, *U.shape[-2:])
            for g, u, v in zip(gramians.cpu().view(-1, m, m), wide, V.view_as(wide), strict=True):
                self._project_one(g, u, v)
        return V.to(U.device, G.dtype)

    def _project_one(self, G: Tensor, U: Tensor, V: Tensor) -> None:
        """Fill ``V`` for one Gramian; leave it where there is no answer."""
        if not bool(torch.isfinite(G).all()):
            return
        # For the same bits: the sum of the diagonal, in the dtype of G, is not always its trace.
        total = G.diagonal().sum()
        normalized = torch.zeros_like(G) if total < self.norm_eps else G / total
        identity = torch.eye(G.shape[0], dtype=G.dtype, device=G.device)
        regularized = (normalized + self.reg_eps * identity).double()
        if not bool(torch.isfinite(regularized).all()):
            return
        solve_qp = _solve_qp()
        quadratic, bounds = regularized.numpy(), identity.double().numpy()
        linear = torch.full((len(G),), -0.0, dtype=torch.float64, device="cpu").numpy()
        for k in torch.isfinite(U).all(dim=-1).nonzero().flatten().tolist():
            try:
                solved = solve_qp(quadratic, linear, bounds, U[k].numpy(), 0)[0]
            except ValueError as error:
                raise ValueError(
                    "`reg_eps` must be large enough to make the normalised Gramian positive "
                    f"definite. Got {self.reg_eps}, and quadprog says: {error}. Increase it, or "
                    "use ExactProjector, which does without."
                ) from error
            V[k] = torch.from_numpy(solved)

    def __repr__(self) -> str:
        return f"QuadprogProjector(norm_eps={self.norm_eps}, reg_eps={self.reg_eps})"


def _solve_qp() -> Callable[..., Any]:
    try:
        from quadprog import solve_qp
    except ImportError as error:
        raise ImportError(
            "`QuadprogProjector` needs the package quadprog: `pip install quadprog`."
        ) from error
    return solve_qp  # type: ignore[no-any-return]
