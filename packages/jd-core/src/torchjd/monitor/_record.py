"""What is kept of one step."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from torchjd.linalg._widening import wide_dtype

from . import _statistics as statistics


@dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    r"""One step of the :math:`m` objectives, whose gradients are the rows of :math:`J`.

    What follows from the Gramian :math:`G = J J^\top` is computed when it is first read, so that a
    record costs little more than a copy of :math:`G`; on a GPU, nothing is waited for before.
    Tensors stay on the device of the step. What is not finite there is not finite here.

    :ivar step: How many steps of the target there were before.
    :ivar names: The names of the objectives.
    :ivar weights: The weights :math:`w`, of shape ``[m]``; None where the method has none.
    :ivar losses: The values of the objectives before the step, of shape ``[m]``; None where they
        are not known.
    :ivar losses_after: Likewise after it; None where nobody measured.
    :ivar learning_rate: What the update was multiplied by, as far as the recorder was told.
    :ivar scaled_gramian: The Gramian over ``scale`` squared, as it was computed; or None.
    :ivar scale: What the rows were divided by, for their squares to be in range; None for 1.
    :ivar products: :math:`J d`, where the update :math:`d` is not :math:`J^\top w`; else None.

    >>> import torch
    >>> from torchjd.monitor import Record
    >>> gramian = torch.tensor([[9.0, -6.0], [-6.0, 16.0]])
    >>> weights = torch.tensor([0.5, 0.5])
    >>> record = Record(step=0, names=("a", "b"), scaled_gramian=gramian, weights=weights)
    >>> record.norms, record.conflict_rate
    (tensor([3., 4.], dtype=torch.float64), 1.0)
    >>> record.predicted_decrease
    tensor([1.5000, 5.0000], dtype=torch.float64)
    """

    step: int
    names: tuple[str, ...]
    weights: Tensor | None = None
    losses: Tensor | None = None
    losses_after: Tensor | None = None
    learning_rate: float = 1.0
    scaled_gramian: Tensor | None = None
    scale: Tensor | None = None
    products: Tensor | None = None

    @cached_property
    def gramian(self) -> Tensor | None:
        """The Gramian, of shape ``[m, m]``, in float64; None where there is none."""
        if self._wide is None or self.scale is None:
            return self._wide
        return self._wide * self.scale * self.scale

    @cached_property
    def norms(self) -> Tensor | None:
        """The lengths of the gradients, of shape ``[m]``; None without a Gramian."""
        if self._wide is None:
            return None
        found = statistics.norms(self._wide)
        return found if self.scale is None else found * self.scale

    @cached_property
    def cosines(self) -> Tensor | None:
        """Their cosines, of shape ``[m, m]``; 0 for a gradient of zero. None without a Gramian."""
        return None if self._wide is None else statistics.cosines(self._wide)

    @cached_property
    def conflict_rate(self) -> float | None:
        """The share of the pairs of gradients whose inner product is negative."""
        return None if self._wide is None else float(statistics.conflict_rate(self._wide))

    @cached_property
    def predicted_decrease(self) -> Tensor | None:
        r"""How much each objective falls to first order, of shape ``[m]``.

        After :math:`\theta \leftarrow \theta - \eta d`, with :math:`\eta` the learning rate, that
        is :math:`\eta J d`, where :math:`d = J^\top w` unless the method has its own way. None
        where that cannot be told.
        """
        if self.products is not None:
            return self.learning_rate * self.products
        if self._wide is None or self.weights is None:
            return None
        scale = self._wide.new_ones(()) if self.scale is None else self.scale
        return self.learning_rate * statistics.progress(self._wide, scale, self.weights)

    @cached_property
    def decrease(self) -> Tensor | None:
        """How much each objective fell, of shape ``[m]``; None where that was not measured."""
        if self.losses is None or self.losses_after is None:
            return None
        dtype = wide_dtype(self.losses.device)
        return self.losses.to(dtype) - self.losses_after.to(self.losses.device, dtype)

    @cached_property
    def _wide(self) -> Tensor | None:
        found = self.scaled_gramian
        return None if found is None else found.to(wide_dtype(found.device))

    def __repr__(self) -> str:
        known = ("scaled_gramian", "weights", "products", "losses", "losses_after")
        there = ", ".join(name for name in known if getattr(self, name) is not None)
        return f"{type(self).__name__}(step={self.step}, names={self.names}, with {there})"
