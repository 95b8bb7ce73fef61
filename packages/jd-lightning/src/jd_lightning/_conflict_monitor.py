"""The Lightning callback that shows how far the objectives agree."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from torchjd.aggregation import Aggregator, Weighting
from torchjd.autogram import Engine
from torchjd.monitor import Record, Recorder

from ._heat_map import MeanCosines, can_draw, draw, folder
from ._metrics import conflict_key, metrics
from ._module import JDModule
from ._monitor_arguments import Target, as_count, as_dirpath, as_names, as_prefix, as_target
from ._trainer import is_trial, writes


class _Latest(NamedTuple):
    """The newest record of some objectives, not logged yet."""

    record: Record
    named: bool
    learning_rate: float


class ConflictMonitor(Callback):
    r"""Log how the objectives of each training step agree, and draw it for each epoch.

    With :math:`g_i` the gradient of objective :math:`i`, :math:`w` the weights and :math:`d` the
    update of a step, these are logged, each key after ``prefix``:

    - ``conflict_rate``: the share of the pairs with :math:`g_i \cdot g_j < 0`; in the progress bar
      too;
    - ``norm/<name>``: :math:`\|g_i\|`;
    - ``weight/<name>``: :math:`w_i`, where the method has weights;
    - ``cosine/<a>/<b>``: the cosine of :math:`g_a` and :math:`g_b`, of up to 8 objectives;
    - ``predicted_decrease/<name>``: :math:`\eta \, g_i \cdot d`, by how much the objective falls
      to first order in a step of plain gradient descent, with :math:`\eta` the learning rate of
      the first parameter group of the first optimizer.

    Samples, whose losses a :class:`JDModule` weighs by their Gramian, have no names: of them, the
    conflict rate and ``norm/mean``, ``norm/min`` and ``norm/max`` are logged.

    The newest record is logged in the first step of each epoch, and whenever the Trainer writes to
    its loggers, by ``log_every_n_steps``. At the end of an epoch, the mean over its records of the
    cosines is drawn into ``<dirpath>/cosines-epoch=<number>.png``, and for each TensorBoardLogger.
    That needs matplotlib: ``pip install "jd-core[plots]"``. A ``fast_dev_run`` draws nothing.

    The training is the same bit for bit. Steps that a gradient scaler skips are not recorded.

    :param every: Record the steps 0, n, 2n, ... Default: as for
        :class:`torchjd.monitor.Recorder`, every step where that costs next to nothing, else every
        20th.
    :param aggregator: The Aggregator, Weighting or Engine that the training step calls, in a
        module that is no JDModule, with manual optimisation. Default: what the JDModule uses.
    :param names: The names of the objectives. Default: those of the JDModule, or else ``"0"``,
        ``"1"`` and so on.
    :param heatmap_every_n_epochs: Draw at the end of each n-th epoch; None for never.
    :param dirpath: Where to, a folder or a URL. Default: ``conflicts`` in the Trainer's log
        directory, or else in its ``default_root_dir``.
    :param prefix: What the keys begin with. Two monitors of one Trainer need two.
    :raises TypeError: If an argument has a wrong type; when training begins, if the module is no
        JDModule and ``aggregator`` is None.
    :raises ValueError: If a number is below 1, or ``prefix`` is empty or ends with a slash.

    >>> from jd_lightning import ConflictMonitor
    >>> from lightning.pytorch import Trainer
    >>> monitor = ConflictMonitor(heatmap_every_n_epochs=5)
    >>> trainer = Trainer(callbacks=[monitor], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        every: int | None = None,
        *,
        aggregator: Aggregator | Weighting[Any] | Engine | None = None,
        names: Sequence[str] | None = None,
        heatmap_every_n_epochs: int | None = 1,
        dirpath: str | Path | None = None,
        prefix: str = "jd",
    ) -> None:
        self._every = as_count(every, "every")
        self._given = as_target(aggregator)
        self._names = as_names(names)
        self._heatmap_every = as_count(heatmap_every_n_epochs, "heatmap_every_n_epochs")
        self._dirpath = as_dirpath(dirpath)
        self._prefix = as_prefix(prefix)
        self._stepped = 0  # batches that ended with a step, as the Trainer counts them
        self._global_step = 0
        self._warned = False
        self._recorders: dict[int, tuple[Target, Recorder]] = {}
        self._forget()

    @property
    @override
    def state_key(self) -> str:
        """The key of the state in checkpoints: of each monitor its own."""
        return self._generate_state_key(prefix=self._prefix)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to log at the same steps."""
        return {"stepped": self._stepped}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self._stepped = int(state_dict["stepped"])

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look for what will be missed, before hours of training."""
        if stage != "fit":
            return
        self._forget()
        if self._given is None and not isinstance(pl_module, JDModule):
            raise TypeError(
                "`aggregator` must be given where the module is no JDModule: the object that its "
                f"training step calls. Got None, with a {type(pl_module).__name__}."
            )
        if self._heatmap_every is not None and not can_draw() and not self._warned:
            self._warned = True
            warnings.warn(
                "ConflictMonitor draws no heat maps, since matplotlib is not installed: "
                '`pip install "jd-core[plots]"`, or pass `heatmap_every_n_epochs=None`. All else '
                "is logged.",
                stacklevel=2,
            )

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count steps, those before a checkpoint included."""
        self._global_step = trainer.global_step
        if self._global_step == 0:
            self._stepped = 0  # another Trainer, from the start

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the first record of the epoch."""
        self._first = True

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Attach to what is known by now."""
        self._attach(trainer, pl_module)

    @override
    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Attach to what the JDModule is about to use."""
        self._attach(trainer, pl_module)

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Detach, so that no call outside of training is seen; log where the Trainer writes."""
        self._detach()
        due = self._first or writes(trainer, self._stepped)
        if self._latest and due and not trainer.barebones:
            self._log(pl_module)
        # In manual optimisation a batch counts whatever it did, as for the Trainer.
        if trainer.global_step != self._global_step or not pl_module.automatic_optimization:
            self._stepped += 1
            self._global_step = trainer.global_step

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the epoch."""
        mean = self._mean.take()
        every = self._heatmap_every
        if every is None or (trainer.current_epoch + 1) % every or is_trial(trainer):
            return
        directory = folder(trainer, self._dirpath)
        if mean is not None and trainer.is_global_zero and can_draw():
            draw(mean, trainer, directory, self._prefix)

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing attached."""
        self._forget()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave nothing attached."""
        self._forget()

    def _attach(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record what the target does until the end of the batch."""
        target, names = self._given, self._names
        if target is None and isinstance(pl_module, JDModule):
            target, names = pl_module.aggregator_in_use, names or pl_module.objective_names
        if target is None:
            return  # no step yet
        # Samples have no names, and how many there are may vary.
        self._named = bool(names) or (target is self._given and isinstance(target, Aggregator))
        if trainer.optimizers:
            self._learning_rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        # By identity, and with the target: a recorder does not keep it alive, and one may be as
        # good as another when compared.
        if id(target) not in self._recorders:
            recorder = Recorder(target, every=self._every, to=self._see, history=1)
            self._recorders[id(target)] = target, recorder
        _, recorder = self._recorders[id(target)]
        recorder.names = names or None
        recorder.attach()

    def _see(self, record: Record) -> None:
        key = record.names if self._named else ()
        self._latest[key] = _Latest(record, self._named, self._learning_rate)
        if self._named and self._heatmap_every is not None:
            self._mean.add(record)

    def _log(self, pl_module: LightningModule) -> None:
        for record, named, rate in self._latest.values():
            found = metrics(record, self._prefix, named=named, learning_rate=rate)
            for key, value in found.items():
                bar = key == conflict_key(self._prefix)
                pl_module.log(key, value, prog_bar=bar, on_step=True, on_epoch=False, batch_size=1)
            self._first = self._first and not found
        self._latest.clear()

    def _detach(self) -> None:
        for _, recorder in self._recorders.values():
            recorder.detach()

    def _forget(self) -> None:
        """Return to the state before training."""
        self._detach()
        # Alive only in training: a Trainer that is pickled before or after it has none.
        self._recorders = {}
        self._latest: dict[tuple[str, ...], _Latest] = {}
        self._mean = MeanCosines()
        self._first = False  # whether the epoch has logged nothing yet
        self._named = False
        self._learning_rate = 1.0
