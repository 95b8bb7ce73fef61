"""The entry point: what this distribution offers to torchjd, imported when it is asked for."""

from torchjd.plugins import hookimpl

from ._table import places


@hookimpl
def torchjd_aggregators() -> dict[str, str]:
    """Return the public name and the place of each aggregator and weighting."""
    return places("jd_aggregators.aggregators")


@hookimpl
def torchjd_projectors() -> dict[str, str]:
    """Return the public name and the place of each projector and solver."""
    return places("jd_aggregators.projectors")


@hookimpl
def torchjd_scalarizers() -> dict[str, str]:
    """Return the public name and the place of each scalarizer."""
    return places("jd_aggregators.scalarizers")
