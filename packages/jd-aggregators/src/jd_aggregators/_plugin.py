"""The entry point: what this distribution offers to torchjd, imported when it is asked for."""

from torchjd.plugins import hookimpl


@hookimpl
def torchjd_aggregators() -> dict[str, str]:
    """Return the public name and the place of each aggregator and weighting."""
    return {
        "Constant": "jd_aggregators:Constant",
        "ConstantWeighting": "jd_aggregators:ConstantWeighting",
        "DualProj": "jd_aggregators:DualProj",
        "DualProjWeighting": "jd_aggregators:DualProjWeighting",
        "Flattening": "jd_aggregators:Flattening",
        "Mean": "jd_aggregators:Mean",
        "MeanWeighting": "jd_aggregators:MeanWeighting",
        "Random": "jd_aggregators:Random",
        "RandomWeighting": "jd_aggregators:RandomWeighting",
        "Sum": "jd_aggregators:Sum",
        "SumWeighting": "jd_aggregators:SumWeighting",
        "UPGrad": "jd_aggregators:UPGrad",
        "UPGradWeighting": "jd_aggregators:UPGradWeighting",
    }


@hookimpl
def torchjd_projectors() -> dict[str, str]:
    """Return the public name and the place of each projector and solver."""
    return {
        "ActiveSetProjector": "jd_aggregators:ActiveSetProjector",
        "ExactProjector": "jd_aggregators:ExactProjector",
        "MinNormSolver": "jd_aggregators:MinNormSolver",
        "QuadprogProjector": "jd_aggregators:QuadprogProjector",
        "ResidentProjector": "jd_aggregators:ResidentProjector",
    }
