from torchjd.linalg import DualConeProjector
from torchjd.plugins import hookimpl


@hookimpl
def torchjd_projectors():
    return {"Unmoved": "only_projects:Unmoved"}


class Unmoved(DualConeProjector):
    """Leave every combination where it is."""

    def __call__(self, U, G):
        return U.clone()
