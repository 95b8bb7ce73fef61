"""Two plugins that give one name: an error for whoever asks for that name, and for nobody else."""

import pytest

TWINS = ["collides-second", "collides-first"]


@pytest.fixture(scope="module")
def seen(probe):
    return probe("healthy")


def test_the_error_names_both_owners_the_allow_list_and_the_direct_import(seen):
    assert seen["answers"]["Twin"] == (
        "PluginConflictError: `torchjd.aggregation.Twin` is offered by 2 plugins: "
        "collides-first 1.0 (collides_first:Twin) and collides-second 2.0 (collides_second:Twin). "
        "Allow one of them, for instance with TORCHJD_PLUGINS=collides-first,good-plugin,"
        "jd-aggregators,only-projects,silent in the environment, or import the one you want "
        "directly, for instance `from collides_first import Twin`."
    )


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("OnlyFirst", "collides_first.Twin"),
        ("OnlySecond", "collides_second.Twin"),
        ("UPGrad", "jd_aggregators._upgrad.UPGrad"),
    ],
)
def test_other_names_are_not_touched(seen, name, owner):
    assert seen["answers"][name] == owner
    assert not any("Twin" in warning or "Only" in warning for warning in seen["warnings"])


def test_both_owners_are_ok_and_the_name_is_listed_once(seen):
    assert [plugin["status"] for plugin in seen["plugins"]] == ["ok"] * 6
    assert seen["dir"]["aggregation"].count("Twin") == 1


def test_the_remedies_of_the_message_work(evaluate):
    script = """
import json, sys
from collides_first import Twin as direct
from torchjd.aggregation import Twin, UPGrad
json.dump([Twin is direct, UPGrad.__name__], sys.stdout)
"""
    allowed = {"TORCHJD_PLUGINS": "collides-first,jd-aggregators"}
    assert evaluate(script, dists=TWINS, **allowed) == [True, "UPGrad"]
