"""What an ordinary user sees: names from installed plugins, or what to install."""

import pytest

LAZY = """
import json, sys
seen = {}

def look(step):
    seen[step] = "pluggy" in sys.modules or "jd_aggregators" in sys.modules

import torchjd
look("import torchjd")
import torchjd.plugins
from torchjd.plugins import Plugin, PluginError, list_plugins
look("import torchjd.plugins")
from torchjd.aggregation import Aggregator, Weighting
from torchjd.linalg import DualConeProjector, Matrix
look("names of the core")
for module in (torchjd.aggregation, torchjd.linalg):
    assert not hasattr(module, "_repr_html_")
    assert not hasattr(module, "__wrapped__")
look("underscore names")
assert "ExactProjector" in dir(torchjd.linalg)
look("dir")
json.dump(seen, sys.stdout)
"""


@pytest.fixture(scope="module")
def good(probe):
    return probe("healthy")


@pytest.fixture(scope="module")
def alone(probe):
    return probe("alone")


@pytest.mark.parametrize(
    ("name", "owner"),
    [("UPGrad", "jd_aggregators._upgrad.UPGrad"), ("Largest", "good_plugin.Largest")],
)
def test_a_third_party_plugin_works_beside_the_first_party_one(good, name, owner):
    assert good["answers"][name] == owner
    assert name in good["dir"]["aggregation"]


@pytest.mark.parametrize(
    ("name", "module"), [("Unmoved", "only_projects"), ("ExactProjector", "jd_aggregators.")]
)
def test_projectors_are_found_under_linalg(good, name, module):
    found = good["answers"][f"linalg.{name}"]
    assert found.startswith(module)
    assert found.endswith(f".{name}")
    assert name in good["dir"]["linalg"]


def test_a_name_appears_under_its_own_module_only(good):
    for kind, name in [("aggregation", "Unmoved"), ("linalg", "UPGrad")]:
        asked = name if kind == "aggregation" else f"{kind}.{name}"
        message = f"AttributeError: module 'torchjd.{kind}' has no attribute '{name}'."
        assert good["answers"][asked] == message
        assert name not in good["dir"][kind]


def test_a_name_of_the_core_is_the_core_s(good):
    found = good["answers"]["linalg.DualConeProjector"]
    assert found == "torchjd.linalg._dual_cone.DualConeProjector"
    assert "DualConeProjector" in good["dir"]["linalg"]


def test_every_plugin_is_listed_in_the_order_of_the_names_of_the_dists(good):
    listed = {plugin["dist"]: plugin for plugin in good["plugins"]}
    first, second = "collides-first", "collides-second"
    assert list(listed) == [
        first,
        second,
        "good-plugin",
        "jd-aggregators",
        "only-projects",
        "silent",
    ]
    assert listed["good-plugin"] == {
        "dist": "good-plugin",
        "version": "1.2.3",
        "entry_point": "good-plugin = good_plugin._plugin",
        "status": "ok",
        "error": "",
        "names": {"aggregation": {"Largest": "good_plugin:Largest"}},
    }


@pytest.mark.parametrize(
    ("kind", "name", "close"),
    [
        ("aggregation", "UPGrid", "UPGrad"),
        ("aggregation", "upgrad", "UPGrad"),
        ("linalg", "ExactProjecter", "ExactProjector"),
    ],
)
def test_a_misspelt_name_is_told_the_close_one(good, kind, name, close):
    asked = name if kind == "aggregation" else f"{kind}.{name}"
    warning = f"PluginWarning: `torchjd.{kind}.{name}` was not found. Did you mean `{close}`?"
    assert warning in good["warnings"]
    assert good["answers"][asked] == (
        f"AttributeError: module 'torchjd.{kind}' has no attribute '{name}'. "
        f"Did you mean `{close}`?"
    )


def test_a_name_that_is_close_to_none_is_an_ordinary_attribute_error(good):
    message = "AttributeError: module 'torchjd.aggregation' has no attribute 'Nonsense'."
    assert good["answers"]["Nonsense"] == message
    assert not any("Nonsense" in warning for warning in good["warnings"])


def test_a_plugin_that_offers_nothing_is_no_error(good):
    assert [p["status"] for p in good["plugins"] if p["dist"] == "silent"] == ["ok"]
    assert not any("silent" in warning for warning in good["warnings"])


def test_without_any_plugin_the_warning_says_what_to_install(alone):
    assert set(alone["warnings"]) == {
        f"PluginWarning: `torchjd.{name}` was not found. No plugin is installed: "
        "`pip install jd-aggregators`."
        for name in ("aggregation.UPGrad", "linalg.ExactProjector")
    }
    assert alone["plugins"] == []
    for kind, of_core, missing in [
        ("aggregation", "Aggregator", "UPGrad"),
        ("linalg", "DualConeProjector", "ExactProjector"),
    ]:
        assert of_core in alone["dir"][kind]
        assert missing not in alone["dir"][kind]


@pytest.mark.parametrize("name", ["aggregation.UPGrad", "linalg.ExactProjector"])
def test_without_any_plugin_the_import_fails_as_imports_do(python, name):
    module, name = f"torchjd.{name}".rsplit(".", 1)
    ran = python("-c", f"from {module} import {name}", alone=True)
    assert ran.returncode == 1
    assert ran.stderr.count("pip install jd-aggregators") == 1
    assert f"ImportError: cannot import name '{name}' from '{module}'" in ran.stderr


def test_with_strangers_only_the_warning_says_where_more_methods_are(python):
    script = "from torchjd.aggregation import Largest, UPGrad"
    ran = python("-c", script, alone=True, dists=["good-plugin"])
    assert ran.returncode == 1
    assert "UPGrad` was not found. More methods: `pip install jd-aggregators`." in ran.stderr


def test_nothing_but_a_discovered_name_triggers_discovery(evaluate):
    assert evaluate(LAZY) == {
        "import torchjd": False,
        "import torchjd.plugins": False,
        "names of the core": False,
        "underscore names": False,
        "dir": True,
    }
