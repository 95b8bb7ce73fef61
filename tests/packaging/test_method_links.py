"""The documentation links a class by whatever public name a docstring calls it."""

import sys
from importlib import import_module

import pytest

import torchjd.scalarization
from jd_aggregators import DualProj, ExactProjector, UPGradWeighting
from torchjd.aggregation import GramianWeightedAggregator, GramianWeighting, Weighting
from torchjd.linalg import DualConeProjector


@pytest.fixture(scope="module")
def method_links(root):
    pytest.importorskip("sphinx", reason="sphinx is not installed: the links are not checked")
    sys.path.insert(0, str(root / "docs"))
    yield import_module("method_links")
    sys.path.remove(str(root / "docs"))


@pytest.mark.parametrize(
    ("name", "documented"),
    [
        ("jd_aggregators.UPGrad", "torchjd.aggregation.UPGrad"),
        ("jd_aggregators._upgrad.UPGrad", "torchjd.aggregation.UPGrad"),
        ("jd_aggregators.ExactProjector", "torchjd.linalg.ExactProjector"),
        ("jd_aggregators.Mean", "torchjd.aggregation.Mean"),
        ("jd_aggregators.scalarizers.Mean", "torchjd.scalarization.Mean"),
    ],
)
def test_a_name_by_which_a_class_is_imported(method_links, name, documented):
    assert method_links.documented_names()[name] == documented


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (DualProj, [GramianWeightedAggregator]),
        (UPGradWeighting, [GramianWeighting]),
        (ExactProjector, [DualConeProjector]),
        (torchjd.scalarization.Mean, [torchjd.scalarization.Scalarizer]),
        (
            type("OfTwo", (UPGradWeighting, GramianWeighting), {}),
            [UPGradWeighting, GramianWeighting],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bases_are_the_interfaces_that_a_class_implements(method_links, cls, expected):
    bases = list(cls.__bases__)
    method_links.show_interfaces(bases)
    assert bases == expected


def test_a_base_that_is_no_plain_class_stays(method_links):
    bases = [Weighting[str]]
    method_links.show_interfaces(bases)
    assert bases == [Weighting[str]]
