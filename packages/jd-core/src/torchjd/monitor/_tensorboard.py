"""Records as scalars of TensorBoard, or of anything that is fed like it."""

from typing import Any

from torch import Tensor

from ._arguments import as_positive
from ._plots import plot_cosines
from ._record import Record


class TensorBoardWriter:
    """Hand records to a summary writer, for a :class:`Recorder`'s ``to``.

    The tags are those of the columns of :class:`CsvWriter`, below the prefix; the cosines go into
    figures. Each scalar is a call of the writer, of which TensorBoard's takes some ten
    microseconds: where that counts, give the recorder an ``every``.

    :param summary_writer: What has ``add_scalar(tag, value, step)``, such as a
        ``torch.utils.tensorboard.SummaryWriter``; and ``add_figure(tag, figure, step)``, for
        figures.
    :param prefix: What the tags begin with.
    :param figure_every: After how many records there is a heat map of the cosines, which needs
        matplotlib. Default: none.
    :raises TypeError: If the writer lacks a method, or ``figure_every`` is no int.
    :raises ValueError: If ``figure_every`` is less than 1.

    >>> import torch
    >>> from torchjd.aggregation import UPGrad
    >>> from torchjd.monitor import Recorder, TensorBoardWriter
    >>> class Printing:
    ...     def add_scalar(self, tag, value, step):
    ...         print(step, tag, value)
    >>> aggregator = UPGrad()
    >>> with Recorder(aggregator, to=TensorBoardWriter(Printing())):
    ...     update = aggregator(torch.tensor([[2.0]]))
    0 jd/conflict_rate 0.0
    0 jd/norm/0 2.0
    0 jd/weight/0 1.0
    0 jd/predicted_decrease/0 4.0
    """

    waits = True

    def __init__(
        self, summary_writer: Any, prefix: str = "jd", *, figure_every: int | None = None
    ) -> None:
        self._figure_every = (
            None if figure_every is None else as_positive(figure_every, "figure_every")
        )
        for method in ("add_scalar", *(() if figure_every is None else ("add_figure",))):
            if not callable(getattr(summary_writer, method, None)):
                raise TypeError(
                    f"`summary_writer` must have a method `{method}`. "
                    f"Got {type(summary_writer).__name__}. Pass a "
                    "`torch.utils.tensorboard.SummaryWriter`, or what does the same."
                )
        self._writer = summary_writer
        self._prefix = prefix
        self._count = 0

    def __call__(self, record: Record) -> None:
        """Take a record."""
        if record.conflict_rate is not None:
            self._add("conflict_rate", record.conflict_rate, record.step)
        kinds: dict[str, Tensor | None] = {
            "norm": record.norms,
            "weight": record.weights,
            "predicted_decrease": record.predicted_decrease,
            "decrease": record.decrease,
        }
        for kind, values in kinds.items():
            if values is not None:
                for name, value in zip(record.names, values.tolist(), strict=True):
                    self._add(f"{kind}/{name}", value, record.step)
        every, self._count = self._figure_every, self._count + 1
        if every is not None and record.cosines is not None and (self._count - 1) % every == 0:
            self._writer.add_figure(f"{self._prefix}/cosines", plot_cosines(record), record.step)

    def _add(self, tag: str, value: float, step: int) -> None:
        self._writer.add_scalar(f"{self._prefix}/{tag}", value, step)

    def flush(self) -> None:
        """Have the summary writer write, if it can."""
        flush = getattr(self._writer, "flush", None)
        if callable(flush):
            flush()
