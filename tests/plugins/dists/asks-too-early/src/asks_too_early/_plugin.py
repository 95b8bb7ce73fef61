from torchjd.aggregation import UPGrad
from torchjd.plugins import hookimpl


@hookimpl
def torchjd_aggregators():
    return {"Early": UPGrad.__module__ + ":UPGrad"}
