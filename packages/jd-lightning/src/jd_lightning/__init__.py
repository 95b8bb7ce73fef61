"""Jacobian descent in Lightning, with automatic optimisation."""

import torchjd as _torchjd

if not getattr(_torchjd, "__jd_core__", False):
    raise ImportError(
        "`jd-lightning` needs the `torchjd` of jd-core, and found that of another distribution, "
        "which has its place: `pip uninstall torchjd jd-core`, then `pip install jd-core`."
    )

from ._cli import offer_names as _offer_names
from ._conflict_monitor import ConflictMonitor
from ._module import JDModule

__all__ = ["ConflictMonitor", "JDModule"]

_offer_names()
