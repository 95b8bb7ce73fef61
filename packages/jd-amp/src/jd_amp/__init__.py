"""Mixed precision for Jacobian descent: gradient scalers that know of several objectives."""

import torchjd as _torchjd

if not getattr(_torchjd, "__jd_core__", False):
    raise ImportError(
        "`jd-amp` needs the `torchjd` of jd-core, and found that of another distribution, "
        "which has its place: `pip uninstall torchjd jd-core`, then `pip install jd-core`."
    )

from ._drop import drop_nonfinite_grads
from ._jac_to_grad import jac_to_grad
from ._jacobian_scaler import JacobianScaler
from ._skip import skip_nonfinite_steps
from ._unscaled_weighting import UnscaledWeighting

__all__ = [
    "JacobianScaler",
    "UnscaledWeighting",
    "drop_nonfinite_grads",
    "jac_to_grad",
    "skip_nonfinite_steps",
]
