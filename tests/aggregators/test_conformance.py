"""Every discovered aggregator against every property: adding a method is adding a row."""

import pytest
import torch

import jd_aggregators
from torchjd.aggregation import Aggregator, GeneralizedWeighting, Weighting
from torchjd.plugins import list_plugins
from torchjd.testing import conformance

LINEAR = {"permutation", "homogeneous", "linear under scaling"}


def weights(m: int) -> torch.Tensor:
    return torch.linspace(0.5, 2.0, m)


TABLE = {
    "Constant": (lambda m: jd_aggregators.Constant(weights(m)), LINEAR - {"permutation"}),
    "DualProj": (
        lambda m: jd_aggregators.DualProj(),
        {"no conflict", "permutation", "homogeneous"},
    ),
    "Mean": (lambda m: jd_aggregators.Mean(), LINEAR),
    "Random": (
        lambda m: jd_aggregators.Random(torch.Generator().manual_seed(m)),
        set(),
    ),
    "Sum": (lambda m: jd_aggregators.Sum(), LINEAR),
    "UPGrad": (lambda m: jd_aggregators.UPGrad(), LINEAR | {"no conflict"}),
}
VARIANTS = {
    "UPGrad with preference": (
        lambda m: jd_aggregators.UPGrad(weights(m)),
        {"no conflict", "homogeneous", "linear under scaling"},
    ),
    "UPGrad with a warm start": (
        lambda m: jd_aggregators.UPGrad(warm_start=True),
        LINEAR | {"no conflict"},
    ),
    "UPGrad on the device": (
        lambda m: jd_aggregators.UPGrad(projector=jd_aggregators.ResidentProjector()),
        LINEAR | {"no conflict"},
    ),
    "UPGrad, damped": (
        lambda m: jd_aggregators.UPGrad(projector=jd_aggregators.ExactProjector(damping=0.1)),
        LINEAR,
    ),
    "DualProj with preference": (
        lambda m: jd_aggregators.DualProj(weights(m)),
        {"no conflict", "homogeneous"},
    ),
}


def rows():
    for name, (make, promises) in (TABLE | VARIANTS).items():
        for case in conformance.cases(make, promises=promises):
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
    of_aggregators = {f"{name}Weighting" for name in aggregators}
    generalized = {n for n in weightings if issubclass(methods[n], GeneralizedWeighting)}
    assert weightings - generalized == of_aggregators
