"""Every discovered aggregator against every property: adding a method is adding a row."""

import pytest
import torch

import jd_aggregators
from torchjd.aggregation import Aggregator, GramianWeightedAggregator, Weighting
from torchjd.plugins import list_plugins
from torchjd.testing import conformance


def weights(m: int) -> torch.Tensor:
    return torch.linspace(0.5, 2.0, m)


def seeded(m: int) -> torch.Generator:
    return torch.Generator().manual_seed(m)


def wrapped(wrapper, weighting, **settings):
    """Return how to make an aggregator of a weighting that wraps another."""
    classes = getattr(jd_aggregators, f"{wrapper}Weighting"), getattr(jd_aggregators, weighting)
    return lambda m: GramianWeightedAggregator(classes[0](classes[1](), **settings))


TABLE = {
    "AlignedMTL": lambda m: jd_aggregators.AlignedMTL(),
    "CAGrad": lambda m: jd_aggregators.CAGrad(c=0.5),
    "ConFIG": lambda m: jd_aggregators.ConFIG(),
    "ConicGrad": lambda m: jd_aggregators.ConicGrad(c=0.5),
    "Constant": lambda m: jd_aggregators.Constant(weights(m)),
    "DBMTL": lambda m: jd_aggregators.DBMTL(),
    "DualProj": lambda m: jd_aggregators.DualProj(),
    "EPO": lambda m: jd_aggregators.EPO(),
    "ExcessMTL": lambda m: jd_aggregators.ExcessMTL(),
    "FairGrad": lambda m: jd_aggregators.FairGrad(alpha=0.5),
    "GradDrop": lambda m: jd_aggregators.GradDrop(generator=seeded(m)),
    "GradNorm": lambda m: jd_aggregators.GradNorm(),
    "GradOPS": lambda m: jd_aggregators.GradOPS(),
    "GradVac": lambda m: jd_aggregators.GradVac(generator=seeded(m)),
    "IMTLG": lambda m: jd_aggregators.IMTLG(),
    "Krum": lambda m: jd_aggregators.Krum(n_byzantine=(m - 3) // 2),
    "Lexicographic": lambda m: jd_aggregators.Lexicographic(),
    "Mean": lambda m: jd_aggregators.Mean(),
    "MGDA": lambda m: jd_aggregators.MGDA(),
    "MoCo": lambda m: jd_aggregators.MoCo(),
    "MoDo": lambda m: jd_aggregators.MoDo(),
    "MomentumConFIG": lambda m: jd_aggregators.MomentumConFIG(),
    "NashMTL": lambda m: jd_aggregators.NashMTL(n_tasks=m),
    "PCD": lambda m: jd_aggregators.PCD(),
    "PCGrad": lambda m: jd_aggregators.PCGrad(generator=seeded(m)),
    "Random": lambda m: jd_aggregators.Random(seeded(m)),
    "SDMGrad": lambda m: jd_aggregators.SDMGrad(),
    "Sum": lambda m: jd_aggregators.Sum(),
    "TrimmedMean": lambda m: jd_aggregators.TrimmedMean((m - 1) // 2),
    "UPGrad": lambda m: jd_aggregators.UPGrad(),
}
# Other parameters of a method. Where they break what it promises, the promises that are left.
VARIANTS = {
    "AlignedMTL with preference": (
        lambda m: jd_aggregators.AlignedMTL(weights(m)),
        {"homogeneous", "compiles"},
    ),
    "AlignedMTL, median": (lambda m: jd_aggregators.AlignedMTL(scale_mode="median"), None),
    "AlignedMTL, rmse": (lambda m: jd_aggregators.AlignedMTL(scale_mode="rmse"), None),
    "ConFIG with preference": (
        lambda m: jd_aggregators.ConFIG(weights(m)),
        {"homogeneous", "compiles"},
    ),
    "GradOPS for those that lag behind": (
        lambda m: jd_aggregators.GradOPS(alpha=-1.0),
        {"no conflict", "permutation", "homogeneous", "compiles"},
    ),
    "MomentumConFIG without momentum": (
        lambda m: jd_aggregators.MomentumConFIG(beta1=0.0, beta2=0.0),
        None,
    ),
    "UPGrad with preference": (
        lambda m: jd_aggregators.UPGrad(weights(m)),
        {"no conflict", "homogeneous", "linear under scaling"},
    ),
    "UPGrad with a warm start": (lambda m: jd_aggregators.UPGrad(warm_start=True), None),
    "UPGrad on the device": (
        lambda m: jd_aggregators.UPGrad(projector=jd_aggregators.ResidentProjector()),
        None,
    ),
    "UPGrad, damped": (
        lambda m: jd_aggregators.UPGrad(projector=jd_aggregators.ExactProjector(damping=0.1)),
        {"permutation", "homogeneous", "linear under scaling"},
    ),
    "DualProj with preference": (
        lambda m: jd_aggregators.DualProj(weights(m)),
        {"no conflict", "homogeneous"},
    ),
    "CRMOGM of UPGrad": (wrapped("CRMOGM", "UPGradWeighting", alpha=0.7), None),
    "CRMOGM of Mean": (
        wrapped("CRMOGM", "MeanWeighting"),
        {"permutation", "homogeneous", "compiles"},
    ),
    "Periodic UPGrad": (wrapped("Periodic", "UPGradWeighting", every=2), None),
    "Periodic Mean": (
        wrapped("Periodic", "MeanWeighting", every=3),
        {"permutation", "homogeneous"},
    ),
    "Normalized UPGrad": (
        wrapped("Normalized", "UPGradWeighting"),
        {"no conflict", "permutation", "homogeneous"},
    ),
    "Normalized Mean, unit": (
        wrapped("Normalized", "MeanWeighting", scale="none"),
        {"permutation", "compiles"},
    ),
    "Averaged UPGrad": (wrapped("Averaged", "UPGradWeighting"), {"no conflict", "permutation"}),
    "Averaged DualProj": (
        wrapped("Averaged", "DualProjWeighting", beta=0.5),
        {"no conflict", "permutation"},
    ),
    "GradDrop with a leak": (
        lambda m: jd_aggregators.GradDrop(torch.square, weights(m) / 2, generator=seeded(m)),
        {"homogeneous"},
    ),
    "Krum, several": (lambda m: jd_aggregators.Krum(n_byzantine=0, n_selected=2), None),
    "TrimmedMean of all": (lambda m: jd_aggregators.TrimmedMean(0), None),
    "FairGrad of 1": (lambda m: jd_aggregators.FairGrad(alpha=1.0), None),
    "FairGrad of 2": (lambda m: jd_aggregators.FairGrad(alpha=2.0), None),
    "NashMTL every third call, unlimited": (
        lambda m: jd_aggregators.NashMTL(m, max_norm=0.0, update_weights_every=3),
        None,
    ),
    "PCD, half of the progress": (
        lambda m: jd_aggregators.PCD(tau=torch.full((m - 1,), 0.5), beta=0.5, eps=0.0),
        set(),
    ),
    "Lexicographic, two levels": (
        lambda m: jd_aggregators.Lexicographic([[m - 1], [*range(m - 1)]][:m]),
        None,
    ),
    "ExcessMTL, warming up": (lambda m: jd_aggregators.ExcessMTL(n_warmup_steps=2), None),
    "DBMTL without averages": (
        lambda m: jd_aggregators.DBMTL(beta=0.0),
        {"permutation", "homogeneous"},
    ),
    # With steps of 10, the rounding of the Gramian grows to differences that are seen.
    "SDMGrad with small steps": (
        lambda m: jd_aggregators.SDMGrad(lr=0.1),
        {"permutation", "homogeneous"},
    ),
    "SDMGrad with preference": (lambda m: jd_aggregators.SDMGrad(pref_vector=weights(m)), set()),
    "EPO, balanced": (lambda m: jd_aggregators.EPO(1 / torch.linspace(0.5, 2.0, m)), None),
}

# The fewest rows that a method works on, where that is not one.
MIN_ROWS = {"Krum": 3, "Krum, several": 3}

# Weightings without an aggregator of their own, each with how a variant above makes one of it.
WEIGHTINGS_ALONE = {
    "Flattening": "its own tests",
    "AveragedWeighting": "Averaged UPGrad",
    "CRMOGMWeighting": "CRMOGM of UPGrad",
    "NormalizedWeighting": "Normalized UPGrad",
    "PeriodicWeighting": "Periodic UPGrad",
}


def rows():
    plain = {name: (make, None) for name, make in TABLE.items()}
    for name, (make, promises) in (plain | VARIANTS).items():
        for case in conformance.cases(make, promises=promises, min_rows=MIN_ROWS.get(name, 1)):
            yield pytest.param(case, id=f"{name}-{case}")


@pytest.mark.parametrize("case", list(rows()))
def test_conformance(case):
    case()


def test_every_discovered_method_has_its_row():
    offered = {name for p in list_plugins() for name in p.names.get("aggregation", {})}
    methods = {name: getattr(jd_aggregators, name) for name in offered}
    aggregators = {name for name, cls in methods.items() if issubclass(cls, Aggregator)}
    weightings = {name for name, cls in methods.items() if issubclass(cls, Weighting)}
    assert aggregators == set(TABLE)
    alone = {name for name in weightings if name.removesuffix("Weighting") not in aggregators}
    assert alone == set(WEIGHTINGS_ALONE)
