"""Rules that plugins add to the Gramian engine: the documented one, and odd ones."""

import json
from pathlib import Path

import pytest
import torch

PROBE = Path(__file__).with_name("rule_probe.py")
TOLERANCE = 1e-12
SERVED = [
    "vectors",
    "sequences",
    "weights trained too",
    "several losses a sample",
    "sequences, time first",
    "sequences, merged with samples",
]
DECLINED = "a loss for each output"


@pytest.fixture(scope="module")
def probed(python):
    def run(subject, dists, **variables):
        ran = python("-W", "error", str(PROBE), subject, dists=dists, **variables)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


@pytest.fixture(scope="module")
def example(probed):
    return probed("low-rank-adapter", ["low-rank-adapter"])


@pytest.fixture(scope="module")
def without_the_rule(probed):
    """The same package where its plugin is not allowed."""
    return probed("low-rank-adapter", ["low-rank-adapter"], TORCHJD_PLUGINS="jd-aggregators")


@pytest.fixture(scope="module")
def odd(probed):
    return probed("odd-rules", ["odd-rules", "rival-rules"])


def test_the_example_passes_its_own_test(python):
    root = Path(__file__).parents[2]
    options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
    test = root / "examples" / "gramian_rule" / "test_rule.py"
    ran = python("-m", "pytest", *options, str(test), dists=["low-rank-adapter"])
    assert ran.returncode == 0, ran.stdout
    assert "10 passed" in ran.stdout


def test_the_probe_has_the_cases_named_here(example):
    assert sorted(example) == sorted([*SERVED, DECLINED])


@pytest.mark.parametrize("case", SERVED)
def test_the_rule_of_the_example_serves(example, without_the_rule, case):
    assert example[case]["served"] == ["rule"]
    assert without_the_rule[case]["served"] == ["fallback"]
    for report in (example[case]["report"], without_the_rule[case]["report"]):
        assert "Probed at each step because of LowRankAdapterBackward." in report


@pytest.mark.parametrize("case", [*SERVED, DECLINED])
def test_gramian_and_gradient_are_those_of_the_rows(example, without_the_rule, case):
    for seen in (example[case], without_the_rule[case]):
        assert max(seen["errors"]) <= TOLERANCE


@pytest.mark.parametrize("case", [*SERVED, DECLINED])
def test_the_gramian_is_that_of_the_fallback(example, without_the_rule, case):
    by_rule, by_fallback = (
        torch.tensor(seen[case]["gramian"], dtype=torch.float64)
        for seen in (example, without_the_rule)
    )
    assert (by_rule - by_fallback).norm() <= TOLERANCE * by_fallback.norm()


def test_what_the_rule_of_the_example_declines_falls_back(example):
    assert example[DECLINED]["served"] == ["fallback"]


def test_a_rule_that_returns_none_leaves_what_there_is_without_it(odd):
    assert odd["Declines"]["served"] == odd["NoRule"]["served"] == ["fallback"]
    assert odd["Declines"]["gramian"] == odd["NoRule"]["gramian"]
    assert max(odd["Declines"]["errors"]) <= TOLERANCE


def test_what_the_odd_rules_spoil_is_right(odd):
    """Else, they would be refused for another reason than the one they are here for."""
    assert odd["Affine"]["served"] == ["rule"]
    assert max(odd["Affine"]["errors"]) <= TOLERANCE


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("TooFew", "ValueError: The rule of `TooFewBackward` must return a use for each input"),
        ("Unknown", "ValueError: The rule of `UnknownBackward` must return a use for each input"),
        ("Misshapen", "ValueError: The rule of `MisshapenBackward` must give, for input 1, a use"),
        ("NoUse", "TypeError: The rule of `NoUseBackward` must give a `Use` for input 2"),
    ],
)
def test_uses_that_cannot_be_right_are_refused_by_the_engine(odd, function, said):
    assert odd[function].get("error", "it passed").startswith(said)


def test_a_rule_that_cannot_be_imported_is_an_error_where_a_node_of_its_kind_is_met(odd):
    assert odd["Missing"]["error"] == (
        "PluginError: `torchjd.autogram.rules.MissingBackward` comes from odd-rules 1.0 "
        "(odd_rules:no_such_rule), which failed to import: AttributeError: module 'odd_rules' has "
        "no attribute 'no_such_rule'. Upgrade or reinstall odd-rules."
    )


def test_two_rules_for_one_kind_of_node_are_an_error_that_names_both(odd):
    start = (
        "PluginConflictError: `torchjd.autogram.rules.DisputedBackward` is offered by 2 plugins: "
        "odd-rules 1.0 (odd_rules:affine) and rival-rules 2.0 (rival_rules:never_asked). Allow one "
        "of them, for instance with TORCHJD_PLUGINS="
    )
    assert odd["Disputed"]["error"].startswith(start)
