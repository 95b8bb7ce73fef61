from torchjd.plugins import hookimpl


@hookimpl
def torchjd_aggregators():
    return {}
