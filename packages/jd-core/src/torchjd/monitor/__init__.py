"""What the objectives do to one another in training, step by step: recorded, written, drawn.

Nothing here changes what is observed, by a bit.
"""

from ._csv import CsvWriter
from ._plots import plot_conflict_rate, plot_cosines, plot_weights
from ._record import Record
from ._recorder import Recorder
from ._tensorboard import TensorBoardWriter

__all__ = [
    "CsvWriter",
    "Record",
    "Recorder",
    "TensorBoardWriter",
    "plot_conflict_rate",
    "plot_cosines",
    "plot_weights",
]
