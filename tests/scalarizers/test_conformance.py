"""Every discovered scalarizer against every property: adding one is adding a row."""

import pytest
import torch

from jd_aggregators import scalarizers
from torchjd.plugins import list_plugins
from torchjd.testing import scalarizer_conformance


def weights(m: int) -> torch.Tensor:
    return torch.linspace(0.5, 2.0, m)


def reference(m: int) -> torch.Tensor:
    return torch.linspace(0.0, -1.0, m)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


TABLE = {
    "COSMOS": lambda m: scalarizers.COSMOS(1.5, weights(m)),
    "Constant": lambda m: scalarizers.Constant(weights(m)),
    "DWA": lambda m: scalarizers.DWA(),
    "FAMO": scalarizers.FAMO,
    "GeometricMean": lambda m: scalarizers.GeometricMean(),
    "IMTLL": scalarizers.IMTLL,
    "Mean": lambda m: scalarizers.Mean(),
    "PBI": lambda m: scalarizers.PBI(5.0, weights(m)),
    "Random": lambda m: scalarizers.Random(generator=seeded()),
    "STCH": lambda m: scalarizers.STCH(0.5),
    "ScaleInvariant": lambda m: scalarizers.ScaleInvariant(),
    "Sum": lambda m: scalarizers.Sum(),
    "Tchebycheff": lambda m: scalarizers.Tchebycheff(),
    "UW": scalarizers.UW,
}
# Other parameters. Weights and references that differ make the order matter.
VARIANTS = {
    "FAMO with bounds": lambda m: scalarizers.FAMO(m, reference(m), lr=0.5),
    "PBI with reference": lambda m: scalarizers.PBI(0.5, weights(m), reference(m)),
    "STCH with weights": lambda m: scalarizers.STCH(0.1, weights(m)),
    "STCH with reference": lambda m: scalarizers.STCH(0.1, None, reference(m)),
    "Tchebycheff with weights": lambda m: scalarizers.Tchebycheff(weights(m)),
    "Tchebycheff, augmented": lambda m: scalarizers.Tchebycheff(None, reference(m), rho=0.1),
}


def promises(name, make):
    found = scalarizer_conformance.declared(make(4))
    # The coefficient of FAMO is held fixed on purpose.
    found -= {"gradient"} if name.startswith("FAMO") else set()
    return found - ({"permutation"} if name in VARIANTS else set())


def rows():
    for name, make in (TABLE | VARIANTS).items():
        for case in scalarizer_conformance.cases(make, promises=promises(name, make)):
            yield pytest.param(case, id=f"{name}-{case}")


@pytest.mark.parametrize("case", list(rows()))
def test_conformance(case):
    case()


def test_every_discovered_scalarizer_has_its_row():
    offered = {name for p in list_plugins() for name in p.names.get("scalarization", {})}
    assert offered == set(TABLE)
