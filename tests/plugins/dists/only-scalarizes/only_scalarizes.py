from torchjd.aggregation import Traits
from torchjd.plugins import hookimpl
from torchjd.scalarization import Scalarizer


class Worst(Scalarizer):
    """The loss of the objective that is worst off."""

    traits = Traits(permutation=True, cost="m")

    def forward(self, values, /):
        return values.max()


@hookimpl
def torchjd_scalarizers():
    return {"Worst": "only_scalarizes:Worst"}
