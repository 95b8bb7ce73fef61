"""The registry: what plugins offer, as data."""

import pytest

from torchjd.plugins import Plugin, PluginConflictError, PluginError
from torchjd.plugins._registry import Registry


def plugin(dist, *names, version="1.0", status="ok", kind="aggregation"):
    offered = {name: f"{dist}.methods:{name}" for name in names}
    return Plugin(dist, version, f"{dist} = {dist}", status, names={kind: offered})


@pytest.fixture
def registry():
    return Registry(
        [
            plugin("alpha", "UPGrad", "Twin"),
            plugin("beta", "Twin", "DualProj", version="2.0"),
            plugin("gamma", "Mean"),
            Plugin("broken", "1.0", "broken = broken", "failed", "RuntimeError: no"),
        ]
    )


def test_names_are_sorted_and_unique(registry):
    assert registry.names("aggregation") == ["DualProj", "Mean", "Twin", "UPGrad"]


def test_the_order_of_the_plugins_is_kept(registry):
    assert [p.dist for p in registry.plugins] == ["alpha", "beta", "gamma", "broken"]


def test_a_name_has_one_offer(registry):
    offer = registry.find("aggregation", "DualProj")
    assert offer is not None
    assert (offer.plugin.dist, offer.target) == ("beta", "beta.methods:DualProj")
    assert str(offer) == "beta 2.0 (beta.methods:DualProj)"


def test_an_unknown_name_has_none(registry):
    assert registry.find("aggregation", "Sum") is None
    assert registry.offers("aggregation", "Sum") == []


def test_a_conflict_is_an_import_error_that_keeps_the_others_allowed(registry):
    message = (
        r"`torchjd\.aggregation\.Twin` is offered by 2 plugins: alpha 1\.0 "
        r"\(alpha\.methods:Twin\) and beta 2\.0 \(beta\.methods:Twin\)\. Allow one of them, for "
        r"instance with TORCHJD_PLUGINS=alpha,gamma in the environment, or import the one you "
        r"want directly, for instance `from alpha\.methods import Twin`\."
    )
    with pytest.raises(PluginConflictError, match=message) as caught:
        registry.find("aggregation", "Twin")
    assert isinstance(caught.value, PluginError)
    assert isinstance(caught.value, ImportError)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("UPGrid", "UPGrad"),
        ("upgrad", "UPGrad"),
        ("UPGRAD", "UPGrad"),
        ("DualProjection", None),
        ("Dualproj", "DualProj"),
        ("Means", "Mean"),
        ("Nonsense", None),
    ],
)
def test_the_closest_name(registry, name, close):
    assert registry.similar("aggregation", name) == close


KINDS = ["aggregation", "autogram.rules", "linalg"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_found_under_its_own_kind_only(kind):
    registry = Registry([plugin("alpha", "MmBackward0", kind=kind)])
    for other in KINDS:
        assert registry.names(other) == ["MmBackward0"] * (other == kind)
        assert (registry.find(other, "MmBackward0") is not None) == (other == kind)


def test_two_rules_for_one_kind_of_node_conflict():
    plugins = [plugin(dist, "MmBackward0", kind="autogram.rules") for dist in ("alpha", "beta")]
    message = r"alpha 1\.0 \(alpha\.methods:MmBackward0\) and beta 1\.0 .*TORCHJD_PLUGINS=alpha "
    with pytest.raises(PluginConflictError, match=message):
        Registry(plugins).find("autogram.rules", "MmBackward0")


def test_an_empty_registry():
    registry = Registry([])
    assert registry.plugins == ()
    assert registry.names("aggregation") == []
    assert registry.find("aggregation", "UPGrad") is None
    assert registry.similar("aggregation", "UPGrad") is None


def test_plugins_can_be_put_into_a_set(registry):
    assert len({*registry.plugins, plugin("alpha", "UPGrad", "Twin")}) == 4


def test_a_plugin_cannot_be_changed(registry):
    with pytest.raises(AttributeError, match="cannot assign to field 'status'"):
        registry.plugins[0].status = "failed"
