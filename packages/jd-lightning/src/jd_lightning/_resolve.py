"""The configured method among the submodules, where checkpoints and devices find it."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule

from torchjd.aggregation import Aggregator, Weighting

from ._configured import check_configured

_SUBMODULE = "_jd_aggregator"


def register(module: LightningModule, configure: Callable[[], Aggregator | Weighting[Any]]) -> str:
    """Configure the method and make it a submodule, unless it is one; return its path."""
    configured = check_configured(configure())
    paths: dict[int, str] = {id(found): path for path, found in module.named_modules()}
    if id(configured) in paths:
        return paths[id(configured)]
    # Once training runs, the module is not moved again.
    module.add_module(_SUBMODULE, configured.to(module.device))
    return _SUBMODULE
