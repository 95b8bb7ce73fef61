"""The recorder: it looks on at every n-th step, keeps what was seen, and hands it on."""

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from torchjd.aggregation import Aggregator, Weighting
from torchjd.aggregation._observers import Observation, observe
from torchjd.autogram import Engine

from ._arguments import as_names, as_positive, as_rate, as_sinks, as_target, as_values, numbers
from ._record import Record
from ._sinks import Sink, flush, waits

# A Gramian that nobody else needs costs a product of the Jacobian with itself. With the mean of 32
# rows that was measured at 60 % of a step: every 32nd step, it is 2 %. Its share grows with m.
_SPARSE = 20
# A thousand Gramians of a thousand objectives would fill any memory.
_MOST_BYTES = 1 << 28


class Recorder:
    r"""Record what the objectives do to one another, at every n-th step of a target.

    For a step with Jacobian :math:`J`, of shape ``[m, n]``, a :class:`Record` holds the Gramian
    :math:`J J^\top` and the weights, and with them the norms of the gradients, their cosines, how
    many of them conflict, and by how much each objective should fall. The results of the target
    are the same bit for bit, and nothing is left on it: copies and checkpoints are as ever.

    An exception that is raised here or by what ``to`` names goes through to the training loop.

    :param target: What is looked at: an aggregator, whose steps are those of ``torchjd.backward``,
        ``jac_to_grad`` and calls; a weighting, whose steps are its calls; or a
        :class:`torchjd.autogram.Engine`, whose steps are ``backward`` and ``compute_gramian``. It
        is not kept alive, unless what ``to`` names does so while the recorder is attached. A
        weighting inside a compiled function does not show its calls.
    :param names: The names of the objectives. Default: ``"0"``, ``"1"`` and so on.
    :param every: Record the steps 0, n, 2n, ... Default: every step in which the Gramian is
        computed anyway, or there is none; and where it has to be computed for the recorder, as for
        the mean of the rows, every 20th, or every m-th if that is less often, so that it stays
        below 5 % of a step.
    :param to: What is called with each record: one callable, or several. A callable with a true
        attribute ``waits``, as the writers of this module, gets the record once it is complete:
        at :meth:`measure`, or else when the next step begins, or at :meth:`detach`. All others get
        it at once, inside the step, when nothing is measured yet.
    :param history: How many records are kept; fewer if they exceed 256 MiB.
    :param learning_rate: What the optimizer multiplies the update by, for the predicted decrease;
        may be set anew at any time.
    :raises TypeError: If an argument has a wrong type.
    :raises ValueError: If ``names`` are not unique, or ``every``, ``history`` or ``learning_rate``
        is not positive.

    >>> import torch
    >>> from torchjd.aggregation import UPGrad
    >>> from torchjd.monitor import Recorder
    >>> aggregator = UPGrad()
    >>> with Recorder(aggregator, names=["speed", "comfort"]) as recorder:
    ...     update = aggregator(torch.tensor([[3.0, 0.0], [-4.0, 3.0]]))
    >>> recorder.last.norms
    tensor([3., 5.], dtype=torch.float64)
    >>> recorder.last.conflict_rate
    1.0
    """

    def __init__(
        self,
        target: Aggregator | Weighting[Any] | Engine,
        *,
        names: Sequence[str] | None = None,
        every: int | None = None,
        to: Sink | Iterable[Sink] = (),
        history: int = 1000,
        learning_rate: float = 1.0,
    ) -> None:
        self._target = weakref.ref(as_target(target))
        self._names = as_names(names)
        self._every = None if every is None else as_positive(every, "every")
        sinks = as_sinks(to)
        self._at_once = [sink for sink in sinks if not waits(sink)]
        self._waiting = [sink for sink in sinks if waits(sink)]
        self._records: deque[Record] = deque(maxlen=as_positive(history, "history"))
        self._bytes = 0
        self._learning_rate = as_rate(learning_rate)
        self._step = 0
        self._recorded = self._measured = self._pending = False
        self._end: Callable[[], None] | None = None

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the objectives; None for their numbers. May be set anew."""
        return self._names

    @names.setter
    def names(self, names: Sequence[str] | None) -> None:
        self._names = as_names(names)

    @property
    def learning_rate(self) -> float:
        """What the optimizer multiplies the update by. May be set anew."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: float) -> None:
        self._learning_rate = as_rate(learning_rate)

    @property
    def records(self) -> list[Record]:
        """The records that are kept, the oldest first."""
        return list(self._records)

    @property
    def last(self) -> Record | None:
        """The newest record, if there is one."""
        return self._records[-1] if self._records else None

    @property
    def recorded(self) -> bool:
        """Whether the last step was recorded: if not, there is no use in :meth:`measure`."""
        return self._recorded

    def attach(self) -> Self:
        """Begin to record, or go on; return the recorder.

        :raises RuntimeError: If the target is gone.
        """
        if self._end is None:
            target = self._target()
            if target is None:
                raise RuntimeError(
                    "`target` must be alive for a recorder to attach to it. Got one that is gone. "
                    "Keep the aggregator, weighting or engine in a variable of its own."
                )
            self._end = observe(target, self._see)
        return self

    def detach(self) -> None:
        """Stop recording, and have the writers write what they were given."""
        if self._end is not None:
            self._end()
            self._end = None
        try:
            self._hand_on()
        finally:
            flush(self._waiting + self._at_once)

    def __enter__(self) -> Self:
        return self.attach()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    def measure(
        self,
        after: Tensor | Sequence[Tensor | float],
        before: Tensor | Sequence[Tensor | float] | None = None,
    ) -> None:
        """Say what the objectives came to be by the optimizer's step, for ``Record.decrease``.

        To be called once after a step; does nothing after one that was not recorded. The values
        should be of the same batch as before the step, and of the same dropout masks.

        :param after: The values of the objectives after the step, m elements.
        :param before: Likewise before it. May be left out where the target knows them: an engine,
            or a method that needs them.
        :raises RuntimeError: If there was no step yet, or it is measured already.
        :raises TypeError: If ``before`` is missing and not known, or an argument is of a wrong
            type.
        :raises ValueError: If there are not m elements.
        """
        if self._step == 0 or self._measured:
            found = "a second call for the same step" if self._measured else "no step yet"
            raise RuntimeError(f"`measure` must be called once after a step. Got {found}.")
        if not self._recorded:
            return
        record = self._records[-1]
        losses, m = record.losses, len(record.names)
        if before is not None:
            losses = as_values(before, m, "before")
        if losses is None:
            raise TypeError(
                "`before` must be given: the values of the objectives before the step are not "
                "known to the recorder. Got None. Pass the losses that the step was computed from."
            )
        values = as_values(after, m, "after")
        self._records[-1] = replace(record, losses=losses, losses_after=values)
        self._measured = True
        self._hand_on()

    def _see(self, seen: Observation) -> None:
        """Record a step, if it is its turn."""
        self._hand_on()
        step = self._step
        self._step += 1
        self._recorded = self._measured = False
        every = self._every or (1 if seen.compute is None else max(_SPARSE, seen.m))
        if step % every == 0:
            record = self._record(step, seen)
            self._keep(record)
            self._recorded = self._pending = True
            for sink in self._at_once:
                sink(record)

    def _record(self, step: int, seen: Observation) -> Record:
        gramian, scale = _copied(seen.gramian), seen.scale
        if seen.compute is not None:
            gramian, scale = seen.compute()
        weights = _copied(seen.weights)
        products = None if seen.products is None else seen.products()
        return Record(
            step=step,
            names=self._names_of(seen.m),
            weights=weights,
            losses=_copied(seen.losses),
            learning_rate=self._learning_rate,
            scaled_gramian=gramian,
            scale=scale,
            products=products,
        )

    def _names_of(self, m: int) -> tuple[str, ...]:
        names = numbers(m) if self._names is None else self._names
        if len(names) != m:
            raise ValueError(
                f"`names` must be one for each objective, {m}. Got {len(names)}: {list(names)}. "
                "They may be set anew, as `recorder.names = ...`."
            )
        return names

    def _keep(self, record: Record) -> None:
        kept = self._records
        if len(kept) == kept.maxlen:
            self._bytes -= _size(kept.popleft())
        kept.append(record)
        self._bytes += _size(record)
        while self._bytes > _MOST_BYTES and len(kept) > 1:
            self._bytes -= _size(kept.popleft())

    def _hand_on(self) -> None:
        """Hand the last record to those who wait until it is complete."""
        if self._pending:
            self._pending = False
            record = self._records[-1]
            for sink in self._waiting:
                sink(record)


def _copied(tensor: Tensor | None) -> Tensor | None:
    """Return a copy that nobody else writes to, and without history."""
    if tensor is None:
        return None
    return (tensor.detach() if tensor.requires_grad else tensor).clone()


def _size(record: Record) -> int:
    """Return the bytes of what grows with the square of the number of objectives."""
    gramian = record.scaled_gramian
    return 0 if gramian is None else gramian.nbytes
