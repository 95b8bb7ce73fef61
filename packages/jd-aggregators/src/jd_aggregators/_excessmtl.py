"""ExcessMTL: more weight to the objectives that are farther from convergence."""

from math import exp, isfinite, log

import torch
from torch import Tensor

from torchjd.aggregation import MatrixWeighting, Traits, WeightedAggregator
from torchjd.linalg import Matrix

from ._fixed import weight_dtype
from ._on_host import on_host
from ._precision import widened
from ._remembering import Remembering, ResetsWeighting
from ._settings import Configured, Count, Number, OfWeighting


class ExcessMTLWeighting(Configured, Remembering, MatrixWeighting):
    r"""Weights that grow with the estimated excess risk: the distance of a loss to its optimum.

    .. math:: E_i = \sum_j \frac{g_{ij}^2}{\sqrt{S_{ij}}}, \qquad
        S_{ij} \leftarrow S_{ij} + g_{ij}^2, \qquad
        \alpha_i \leftarrow \frac{\alpha_i e^{\eta E_i / B_i}}{\sum_k \alpha_k e^{\eta E_k / B_k}},

    with :math:`g_{ij}` the entries of the Jacobian, of shape ``[m, n]``, S what is remembered of
    their squares, :math:`\alpha` the weights, :math:`1/m` at first, and :math:`B_i` the baseline:
    the mean of :math:`E_i` over the warm-up, or the value of the first call. The weights after the
    update are returned; during the warm-up there is none. Source: He et al., "Robust Multi-Task
    Learning with Excess Risks", ICML 2024, equations 6, 7 and 9 and appendix C.1.

    .. note::
        The first call is always one of warm-up: before it nothing is known to compare with. The
        weights sum to 1, as in the paper, and not to m, as in the authors' code. A row that was
        zero so far has the first value of :math:`E_i` above 0 as its baseline.

    S has the size of the Jacobian. It is of its dtype, but at least float32, whose squares begin
    near 1e-38 and end near 1e38.

    :param robust_step_size: The step size :math:`\eta`, greater than 0.
    :param n_warmup_steps: How many calls only collect, at least 0.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is out of range; when called, if the shape of the Jacobian
        changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import ExcessMTLWeighting
    >>> weighting = ExcessMTLWeighting()
    >>> weighting(torch.tensor([[1.0, 2.0], [3.0, 1.0]]))
    tensor([0.5000, 0.5000])
    >>> weighting(torch.tensor([[1.0, 2.0], [0.3, 0.1]]))
    tensor([0.6676, 0.3324])
    """

    remembers = ("_squares", "_baseline", "_logits")
    robust_step_size = Number("The step size of the weights' update.", above=0.0)
    n_warmup_steps = Count("How many calls only collect.")

    def __init__(self, robust_step_size: float = 1.0, n_warmup_steps: int = 0) -> None:
        super().__init__()
        self.robust_step_size = robust_step_size
        self.n_warmup_steps = n_warmup_steps

    def forward(self, matrix: Matrix, /) -> Tensor:
        """Return the weights, of shape ``[m]``, of the dtype of ``matrix`` or float32."""
        dtype = weight_dtype(matrix)
        rows = matrix.detach().to(dtype)
        gained = rows * rows
        squares = self.recall("_squares", rows.shape, rows) + gained
        # The least positive number is for the entries that were always zero. What overflows, or is
        # not finite, gives inf * 0: NaN, and never a finite sum.
        squares.clamp_min_(torch.finfo(dtype).tiny)
        excess = torch.linalg.vecdot(gained, squares.rsqrt())
        return (
            self._by_numbers(excess, squares)
            if on_host(excess)
            else self._by_tensors(excess, squares)
        )

    def _by_numbers(self, excess: Tensor, squares: Tensor) -> Tensor:
        """Return the weights, in Python's numbers, which for some rows take a third of the time."""
        risks, shape = excess.tolist(), excess.shape
        like = torch.empty(0, dtype=torch.float64, device="cpu")
        baseline = self.recall("_baseline", shape, like)
        base, logits = baseline.tolist(), self.recall("_logits", shape, like).tolist()
        calls = 0 if self._calls is None else int(self._calls)
        if calls < max(self.n_warmup_steps, 1):
            base = [b + (e - b) / (calls + 1) for e, b in zip(risks, base, strict=True)]
            baseline = torch.tensor(base, dtype=torch.float64, device="cpu")
        else:
            if 0.0 in base:
                base = [b or e for e, b in zip(risks, base, strict=True)]
                baseline = torch.tensor(base, dtype=torch.float64, device="cpu")
            rate, rows = self.robust_step_size, zip(logits, risks, base, strict=True)
            logits = [z + rate * e / b if b else z for z, e, b in rows]
        top = max(logits)
        grown = [exp(z - top) for z in logits]
        total = sum(grown)
        if not isfinite(total + sum(risks)):
            return torch.full_like(excess, torch.nan)
        shift = top + log(total)
        kept = torch.tensor([z - shift for z in logits], dtype=torch.float64, device="cpu")
        self.keep(_squares=squares, _baseline=baseline, _logits=kept)
        return torch.tensor([one / total for one in grown], dtype=excess.dtype, device="cpu")

    def _by_tensors(self, excess: Tensor, squares: Tensor) -> Tensor:
        """Return the weights, reading nothing on the host."""
        risks, shape = widened(excess), excess.shape
        baseline, logits = (
            self.recall("_baseline", shape, risks),
            self.recall("_logits", shape, risks),
        )
        count = self.count(risks)
        is_warm = count > max(self.n_warmup_steps, 1)
        first = torch.where(baseline > 0, baseline, risks)
        baseline = torch.where(is_warm, first, baseline + (risks - baseline) / count)
        steps = self.robust_step_size * risks / first.clamp_min(torch.finfo(risks.dtype).tiny)
        # In the warm-up nothing is added, unless it is not finite.
        logits = (logits + torch.where(is_warm, steps, 0.0 * risks)).log_softmax(0)
        sound = logits[0] <= 0.0  # of one NaN or infinity, the softmax makes NaN everywhere
        self.remember(sound, _squares=squares, _baseline=baseline, _logits=logits)
        return logits.exp().to(excess.dtype)


class ExcessMTL(ResetsWeighting, WeightedAggregator):
    r"""The rows, weighted more the farther their objective is from convergence.

    .. math:: \mathcal{A}(J) = J^\top \alpha, \qquad
        \alpha_i \leftarrow \frac{\alpha_i e^{\eta E_i / B_i}}{\sum_k \alpha_k e^{\eta E_k / B_k}},
        \qquad E_i = \sum_j \frac{g_{ij}^2}{\sqrt{S_{ij}}},

    with :math:`E_i` the estimate of the excess risk, by a Taylor expansion with a diagonal
    Hessian, S the sum of the squares of the entries of the Jacobian so far, of shape ``[m, n]``,
    and :math:`B_i` the mean of :math:`E_i` over the warm-up, or its value at the first call. An
    objective whose loss is large by noise alone is not favoured, since its gradient vanishes on
    average. Gradients that are scaled at all calls leave the weights as they are. Source: He et
    al., "Robust Multi-Task Learning with Excess Risks", ICML 2024, equations 6, 7 and 9.

    :param robust_step_size: The step size :math:`\eta`, greater than 0.
    :param n_warmup_steps: How many calls have weights :math:`1/m` and only collect the baseline.
        The authors take three epochs; 0 and 1 are the same.
    :raises TypeError: If a parameter is of a wrong type.
    :raises ValueError: If a parameter is out of range; when called, if the shape of the Jacobian
        changed without a :meth:`reset`.

    >>> import torch
    >>> from torchjd.aggregation import ExcessMTL
    >>> aggregator = ExcessMTL()
    >>> aggregator(torch.tensor([[1.0, 2.0], [3.0, 1.0]]))
    tensor([2.0000, 1.5000])
    >>> aggregator(torch.tensor([[1.0, 2.0], [0.3, 0.1]]))
    tensor([0.7673, 1.3684])
    """

    weighting: ExcessMTLWeighting
    traits = Traits(
        permutation=True,
        scaling="s, over all calls",
        state="m n",
        cost="m n",
        on_device=True,
        compiles=True,
    )
    robust_step_size = OfWeighting(ExcessMTLWeighting.robust_step_size)
    n_warmup_steps = OfWeighting(ExcessMTLWeighting.n_warmup_steps)

    def __init__(self, robust_step_size: float = 1.0, n_warmup_steps: int = 0) -> None:
        super().__init__(ExcessMTLWeighting(robust_step_size, n_warmup_steps))
