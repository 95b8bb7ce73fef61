from torchjd.linalg import DualConeProjector as Interface
from torchjd.plugins import hookimpl


@hookimpl
def torchjd_projectors():
    return {
        "DualConeProjector": "takes_core_names:DualConeProjector",
        "Unmet": "takes_core_names:DualConeProjector",
        "Projection": "takes_core_names:DualConeProjector",
    }


class DualConeProjector(Interface):
    def __call__(self, U, G):
        return U.clone()
