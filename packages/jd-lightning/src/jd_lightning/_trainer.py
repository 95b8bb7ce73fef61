"""What the monitor asks of a Trainer; some of its settings are unknown to type checkers."""

from typing import Any


def is_trial(trainer: Any) -> bool:
    """Return whether the Trainer only tries a few batches out, and is to leave no files."""
    return bool(trainer.fast_dev_run)


def writes(trainer: Any, stepped: int) -> bool:
    """Return whether the Trainer writes to its loggers at the end of this batch.

    :param stepped: How many batches ended with a step of the optimizer before.
    """
    every: int = trainer.log_every_n_steps
    due = every > 0 and (stepped + 1) % every == 0
    return due or bool(trainer.should_stop) or is_trial(trainer)
