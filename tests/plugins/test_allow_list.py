"""``TORCHJD_PLUGINS``: which distributions are loaded at all."""

import pytest

GOOD, FIRST, BAD = "good-plugin", "jd-aggregators", "fails-at-import"

# value of the variable (None: not set) -> what is loaded
CASES = {
    None: {GOOD: "ok", FIRST: "ok", BAD: "failed"},
    "": {GOOD: "not allowed", FIRST: "not allowed", BAD: "not allowed"},
    " , ": {GOOD: "not allowed", FIRST: "not allowed", BAD: "not allowed"},
    "jd-aggregators": {GOOD: "not allowed", FIRST: "ok", BAD: "not allowed"},
    "good-plugin,jd-aggregators": {GOOD: "ok", FIRST: "ok", BAD: "not allowed"},
    " Good_Plugin , JD.Aggregators,": {GOOD: "ok", FIRST: "ok", BAD: "not allowed"},
    "good": {GOOD: "not allowed", FIRST: "not allowed", BAD: "not allowed"},
    "fails-at-import": {GOOD: "not allowed", FIRST: "not allowed", BAD: "failed"},
}

SCRIPT = f"""
import json, os, sys, warnings
import torchjd.aggregation
from torchjd.plugins import _discovery, list_plugins

seen = []
for value in {list(CASES)!r}:
    os.environ.pop("TORCHJD_PLUGINS", None)
    if value is not None:
        os.environ["TORCHJD_PLUGINS"] = value
    _discovery.forget()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        status = {{plugin.dist: plugin.status for plugin in list_plugins()}}
        try:
            answer = torchjd.aggregation.UPGrad.__name__
        except AttributeError as error:
            answer = str(error)
    seen.append([status, answer, [str(w.message) for w in caught]])
json.dump(seen, sys.stdout)
"""


@pytest.fixture(scope="module")
def seen(evaluate):
    return dict(zip(CASES, evaluate(SCRIPT, dists=[GOOD, BAD]), strict=True))


@pytest.mark.parametrize("value", CASES)
def test_what_is_loaded(seen, value):
    status, _, warned = seen[value]
    assert status == CASES[value]
    failed = [message for message in warned if message.startswith(f"The plugin {BAD}")]
    assert len(failed) == (CASES[value][BAD] == "failed")


@pytest.mark.parametrize("value", CASES)
def test_a_name_of_a_plugin_that_is_not_allowed_is_told_why(seen, value):
    _, answer, warned = seen[value]
    if CASES[value][FIRST] == "ok":
        assert answer == "UPGrad"
        return
    reason = "jd-aggregators (TORCHJD_PLUGINS does not list it)"
    assert reason in answer
    assert any(reason in message for message in warned)


def test_what_is_not_allowed_is_not_imported(evaluate):
    script = """
import json, sys
from torchjd.plugins import list_plugins
list_plugins()
plugins = {"good_plugin", "jd_aggregators", "fails_at_import"}
json.dump(sorted(plugins & set(sys.modules)), sys.stdout)
"""
    assert evaluate(script, dists=[GOOD, BAD], TORCHJD_PLUGINS=GOOD) == ["good_plugin"]
