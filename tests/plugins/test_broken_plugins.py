"""Plugins that are broken, all installed at once: each breaks itself only."""

import pytest

BROKEN = {
    "asks-too-early": (
        "asks_too_early._plugin",
        "PluginError: A plugin asked torchjd for a discovered name while it was being discovered",
    ),
    "exits-at-import": ("exits_at_import", "SystemExit: usage: exits_at_import FILE"),
    "fails-at-import": ("fails_at_import", "RuntimeError: No accelerator was found"),
    "imports-itself": (
        "imports_itself",
        "PluginError: A plugin asked torchjd for a discovered name while it was being discovered",
    ),
    "misspelt-hook": (
        "misspelt_hook",
        "PluginValidationError: unknown hook 'torchjd_agregators' in plugin",
    ),
    "no-hook": (
        "no_hook",
        (
            "ValueError: it implements none of the hooks torchjd_aggregators, "
            "torchjd_gramian_rules, torchjd_projectors, torchjd_scalarizers. Mark a function"
        ),
    ),
    "not-a-mapping": (
        "not_a_mapping",
        "TypeError: `torchjd_aggregators` must return a mapping. Got list",
    ),
    "takes-core-names": (
        "takes_core_names",
        "ValueError: `torchjd_projectors` must not give names that torchjd.linalg defines itself",
    ),
}

TWICE_UNDER_ERROR = """
import json, sys, warnings
warnings.simplefilter("error")
import torchjd.aggregation

def ask():
    try:
        return torchjd.aggregation.UPGrad.__name__
    except Warning as warning:
        return type(warning).__name__

json.dump([ask(), ask()], sys.stdout)
"""


@pytest.fixture(scope="module")
def seen(probe):
    return probe("broken")


def test_the_others_live(seen):
    assert seen["answers"]["UPGrad"] == "jd_aggregators._upgrad.UPGrad"
    assert seen["answers"]["Largest"] == "good_plugin.Largest"
    assert seen["answers"]["linalg.ExactProjector"].startswith("jd_aggregators.")


@pytest.mark.parametrize("dist", BROKEN)
def test_it_is_reported_once_with_dist_entry_point_and_cause(seen, dist):
    module, cause = BROKEN[dist]
    start = f"PluginWarning: The plugin {dist} 1.0 (entry point `{dist} = {module}`) is left out: "
    (warning,) = [warning for warning in seen["warnings"] if warning.startswith(start)]
    assert warning.startswith(start + cause)
    remedy = ". Upgrade or uninstall it, or keep it from loading with TORCHJD_PLUGINS."
    assert warning.endswith(remedy)
    assert ".." not in warning


@pytest.mark.parametrize("dist", BROKEN)
def test_it_is_listed_as_failed(seen, dist):
    (plugin,) = [plugin for plugin in seen["plugins"] if plugin["dist"] == dist]
    assert plugin["status"] == "failed"
    assert plugin["error"].startswith(BROKEN[dist][1])
    assert plugin["names"] == {}


@pytest.mark.parametrize("name", ["Unseen", "linalg.Unmet"])
def test_a_name_that_a_broken_plugin_may_have_offered_is_told_who_was_left_out(seen, name):
    for dist, (_, cause) in BROKEN.items():
        assert f"{dist} ({cause}" in seen["answers"][name]


def test_names_that_the_core_has_taken_are_named_with_the_remedy(seen):
    (error,) = [p["error"] for p in seen["plugins"] if p["dist"] == "takes-core-names"]
    assert error.endswith("Got 'DualConeProjector', 'Projection'. Rename what has such a name")


def test_a_name_of_the_core_stays_the_core_s(seen):
    found = seen["answers"]["linalg.DualConeProjector"]
    assert found == "torchjd.linalg._dual_cone.DualConeProjector"


def test_a_target_that_cannot_be_imported_is_an_error_when_asked_for(seen):
    assert not any("broken-target" in warning for warning in seen["warnings"])
    assert seen["answers"]["Lost"] == (
        "PluginError: `torchjd.aggregation.Lost` comes from broken-target 1.0 "
        "(broken_target.method:Lost), which failed to import: ModuleNotFoundError: No module "
        "named 'a_solver_that_is_not_installed'. Upgrade or reinstall broken-target."
    )


def test_a_target_that_lacks_the_attribute_is_an_error_when_asked_for(seen):
    assert seen["answers"]["Absent"] == (
        "PluginError: `torchjd.aggregation.Absent` comes from broken-target 1.0 "
        "(broken_target:Absent), which failed to import: AttributeError: module 'broken_target' "
        "has no attribute 'Absent'. Upgrade or reinstall broken-target."
    )


def test_where_warnings_are_errors_it_is_raised_once(evaluate):
    assert evaluate(TWICE_UNDER_ERROR, dists=["fails-at-import"]) == ["PluginWarning", "UPGrad"]


def test_an_interrupted_installation_is_left_out(evaluate, tmp_path):
    """Entry points without metadata: the distribution has neither name nor version."""
    half = tmp_path / "half-1.0.dist-info"
    half.mkdir()
    (half / "entry_points.txt").write_text("[torchjd]\nhalf = half\n")
    script = f"""
import json, sys, warnings
sys.path.append({str(tmp_path)!r})
from torchjd.plugins import list_plugins
with warnings.catch_warnings(record=True) as caught:
    plugins = [(plugin.dist, plugin.version, plugin.status) for plugin in list_plugins()]
json.dump([str(caught[0].message), plugins], sys.stdout)
"""
    warning, plugins = evaluate(script)
    assert warning.startswith("The plugin unknown unknown (entry point `half = half`) is left out")
    assert plugins == [["jd-aggregators", plugins[0][1], "ok"], ["unknown", "unknown", "failed"]]
