"""Scalarizers of strangers, beside those of the first-party plugin."""

import re

import pytest

DISTS = ["only-scalarizes"]
LOOK = """
import json, sys
import torch
from torchjd import scalarization
from torchjd.plugins import list_plugins

losses = torch.tensor([[1.0, 3.0], [2.0, 0.0]], requires_grad=True)
scalarization.Worst()(losses).backward()
table = {method.name: method for method in scalarization.methods()}
json.dump(
    {
        "module": table["Worst"].scalarizer.__module__,
        "traits": table["Worst"].traits.permutation,
        "gradient": losses.grad.tolist(),
        "listed": list(table),
        "dir": [name in dir(scalarization) for name in ("Worst", "Scalarizer", "methods")],
        "names": [dict(p.names) for p in list_plugins() if p.dist == "only-scalarizes"],
    },
    sys.stdout,
)
"""


@pytest.fixture(scope="module")
def seen(evaluate):
    return evaluate(LOOK, dists=DISTS)


def test_it_is_found_under_its_module(seen):
    assert seen["module"] == "only_scalarizes"
    assert seen["gradient"] == [[0, 1], [0, 0]]
    assert seen["dir"] == [True] * 3
    assert seen["names"] == [{"scalarization": {"Worst": "only_scalarizes:Worst"}}]


def test_the_table_has_it_among_the_others_sorted_by_name(seen):
    assert seen["traits"] is True
    assert {"Mean", "Worst"} <= set(seen["listed"])
    assert seen["listed"] == sorted(seen["listed"])


def test_it_is_under_no_other_module(python):
    ran = python("-c", "from torchjd.aggregation import Worst", dists=DISTS)
    assert ran.returncode == 1
    assert "cannot import name 'Worst' from 'torchjd.aggregation'" in ran.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("plugins", ["Worst", "scalarization", "only-scalarizes", "1.0", "ok"]),
        ("methods", ["Worst", "scalarization", "losses", "-", "permutation", "-", "-"]),
    ],
)
def test_the_command_line_lists_it(python, command, expected):
    ran = python("-W", "error", "-m", "torchjd", command, dists=DISTS)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert expected in [re.split(r" {2,}", line) for line in ran.stdout.splitlines()]


def test_without_any_plugin_the_warning_says_what_to_install(python):
    ran = python("-c", "from torchjd.scalarization import Mean", alone=True)
    assert ran.returncode == 1
    assert "`torchjd.scalarization.Mean` was not found. No plugin is installed" in ran.stderr
