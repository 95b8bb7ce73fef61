"""The entry point: it names the methods, and imports none of them."""

from torchjd.plugins import hookimpl


@hookimpl
def torchjd_aggregators():
    names = ["ClippedMean", "ClippedMeanWeighting"]
    return {name: f"clipped_mean:{name}" for name in names}
