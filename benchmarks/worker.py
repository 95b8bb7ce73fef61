"""One side of the comparison: a process that measures what it is asked to, one line at a time.

It runs in either environment, so it uses only what both libraries have.
"""

import time
from typing import Any

import serving
import torch
from memory import peak_above
from torch import Tensor
from workload import Case, Workload

import torchjd.aggregation
from torchjd.autojac import backward, jac_to_grad


class Worker:
    """Answers requests about one workload."""

    def __init__(self) -> None:
        self._case: Case | None = None
        self._loaded: Workload | None = None

    def about(self) -> dict[str, str]:
        """Say what is installed here."""
        return serving.about()

    def load(self, **case: Any) -> None:
        """Build the model and the batch."""
        self._case = Case(**case)
        self._loaded = self._case.build()

    def measure(self, what: str, step: str | None) -> float:
        """Return the seconds of one repetition, the forward pass before it left out.

        :param what: ``"plain"`` or ``"jacobian"``.
        :param step: The aggregator of a whole step, whose forward pass is part of it; or None.
        """
        self._workload.clear()
        if step is None:
            losses = self._workload.losses()
            begin = time.perf_counter()
            self._pull(losses, what)
        else:
            aggregator = getattr(torchjd.aggregation, step)()
            begin = time.perf_counter()
            self._pull(self._workload.losses(), what)
            if what == "jacobian":
                jac_to_grad(self._workload.params, aggregator)
        return time.perf_counter() - begin

    def memory(self, what: str, step: str | None) -> int | None:
        """Return the peak of a second call in bytes, above what was there just before it."""
        self.measure(what, step)
        self._workload.clear()
        if step is not None:
            return peak_above(lambda: self.measure(what, step))
        losses = self._workload.losses()
        return peak_above(lambda: self._pull(losses, what))

    def error(self) -> float:
        """Return the largest relative error of a row, against float64 and one row at a time."""
        self._workload.clear()
        self._pull(self._workload.losses(), "jacobian")
        assert self._case is not None
        oracle = self._case.build(torch.float64)
        worst = 0.0
        for i, loss in enumerate(oracle.losses()):
            grads = torch.autograd.grad(loss, oracle.params, retain_graph=True)
            right = torch.cat([grad.flatten() for grad in grads])
            found = torch.cat([_jac(param)[i].flatten() for param in self._workload.params])
            worst = max(worst, float((found.double() - right).norm() / right.norm()))
        return worst

    @property
    def _workload(self) -> Workload:
        assert self._loaded is not None  # the first request is `load`
        return self._loaded

    def _pull(self, losses: list[Tensor], what: str) -> None:
        if what == "plain":
            torch.autograd.backward(sum(losses, start=losses[0].new_zeros(())))
        else:
            backward(losses, inputs=self._workload.params)


def _jac(param: Tensor) -> Tensor:
    jacobian: Tensor = param.jac  # type: ignore[attr-defined]
    return jacobian


if __name__ == "__main__":
    serving.serve(Worker())
