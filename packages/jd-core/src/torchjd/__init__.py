"""Jacobian descent with PyTorch: train on many objectives, none at the expense of another."""

from importlib.metadata import (
    PackageNotFoundError as _NotFound,
    distribution as _distribution,
    version as _version,
)

try:
    _distribution("torchjd")
except _NotFound:
    pass
else:
    raise ImportError(
        "`jd-core` needs the import name `torchjd` for itself, and a distribution called `torchjd` "
        "is installed beside it: `pip uninstall torchjd jd-core`, then `pip install jd-core`."
    )

from torchjd import aggregation, autojac, distributed, linalg, plugins
from torchjd.aggregation import Stateful

from ._backward import backward
from ._mtl_backward import mtl_backward

__version__ = _version("jd-core")

__jd_core__ = True
"""Tells sister packages that this `torchjd` is jd-core's, and not another distribution's."""

__all__ = [
    "Stateful",
    "__version__",
    "aggregation",
    "autojac",
    "backward",
    "distributed",
    "linalg",
    "mtl_backward",
    "plugins",
]
