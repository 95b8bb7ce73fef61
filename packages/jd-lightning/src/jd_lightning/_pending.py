"""Results of `objectives` that have yet to come back to `backward`."""

from weakref import ReferenceType, ref

from lightning.pytorch import Trainer
from torch.optim import Optimizer


class FitStep:
    """One training step of one fit.

    :param trainer: In the middle of it.
    """

    def __init__(self, trainer: Trainer) -> None:
        # Each fit makes its optimizers anew: a fit that was aborted and resumed, which counts on
        # from an earlier batch, is told from the first by them.
        self._optimizer: ReferenceType[Optimizer] = ref(trainer.optimizers[0])
        self._batch = trainer.fit_loop.epoch_loop.batch_progress.total.ready

    def same_fit(self, other: "FitStep") -> bool:
        """Whether ``other`` is a step of the same fit."""
        return self._optimizer() is other._optimizer()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FitStep) and self.same_fit(other) and self._batch == other._batch

    __hash__ = None  # type: ignore[assignment]  # what it refers to may die


class Pending:
    """How many results of `objectives` have yet to come back in the current training step."""

    def __init__(self) -> None:
        self._step: FitStep | None = None
        self._count = 0

    def count(self, trainer: Trainer) -> int:
        """Return how many; those of an earlier step, which returned None or failed, are none."""
        return self._count if self._step == FitStep(trainer) else 0

    def add(self, trainer: Trainer) -> None:
        """Count one more."""
        self._count = self.count(trainer) + 1
        self._step = FitStep(trainer)

    def take(self) -> None:
        """Count one less."""
        self._count -= 1
