"""``python -m torchjd``: tables of plugins and methods for people, whole lines for a pipe."""

import re
import sys
from importlib.metadata import version

import pytest

from torchjd import aggregation, scalarization
from torchjd._cli import main
from torchjd._plugin_table import rows as table
from torchjd.plugins import Plugin
from torchjd.plugins._discovery import forget

HEADER = ["name", "kind", "dist", "version", "status"]
OF_METHODS = ["name", "kind", "input", "state", "guarantees", "on device", "compiles"]
OURS = version("jd-aggregators")


def rows(text):
    """Return the cells of the table, which two spaces or more separate."""
    return [re.split(r" {2,}", line) for line in text.splitlines()]


def test_a_row_for_each_offered_name(probe):
    header, *body = rows(probe("healthy")["table"])
    assert header == HEADER
    assert ["Largest", "aggregation", "good-plugin", "1.2.3", "ok"] in body
    assert ["UPGrad", "aggregation", "jd-aggregators", OURS, "ok"] in body
    assert ["Unmoved", "linalg", "only-projects", "1.0", "ok"] in body
    assert ["ExactProjector", "linalg", "jd-aggregators", OURS, "ok"] in body


def test_a_conflict_is_told_in_the_rows_of_both(probe):
    shown = rows(probe("healthy")["table"])
    assert [row for row in shown if row[0] in {"Twin", "OnlyFirst"}] == [
        ["OnlyFirst", "aggregation", "collides-first", "1.0", "ok"],
        *(
            ["Twin", "aggregation", f"collides-{one}", mine, f"conflict: {other} offers it too"]
            for one, mine, other in [
                ("first", "1.0", "collides-second 2.0"),
                ("second", "2.0", "collides-first 1.0"),
            ]
        ),
    ]


def test_rules_of_the_gramian_engine_are_listed_by_the_kind_of_node(python):
    ran = python("-m", "torchjd", "plugins", dists=["low-rank-adapter"])
    assert (ran.returncode, ran.stderr) == (0, "")
    listed = [row for row in rows(ran.stdout) if row[2] == "low-rank-adapter"]
    assert listed == [["LowRankAdapterBackward", "autogram.rules", "low-rank-adapter", "1.0", "ok"]]


def test_a_plugin_that_is_left_out_has_a_row_with_its_whole_reason(python):
    broken = ["asks-too-early", "fails-at-import", "misspelt-hook", "silent"]
    ran = python("-W", "error", "-m", "torchjd", "plugins", dists=broken)
    assert (ran.returncode, ran.stderr) == (0, "")
    shown = {row[2]: row for row in rows(ran.stdout)}
    assert [shown[dist][:2] for dist in broken] == [["-", "-"]] * 4
    assert shown["fails-at-import"][3:] == [
        "1.0",
        "failed: RuntimeError: No accelerator was found",
    ]
    assert shown["asks-too-early"][4].endswith("from the distribution that defines them")
    assert "unknown hook 'torchjd_agregators' in plugin" in shown["misspelt-hook"][4]
    assert shown["silent"][4] == "ok: offers nothing"
    assert shown["jd-aggregators"][4] == "ok"


def test_a_plugin_that_is_not_allowed_has_a_row(monkeypatch, capsys):
    monkeypatch.setenv("TORCHJD_PLUGINS", "")
    forget()
    try:
        assert main(["plugins"]) == 0
    finally:
        forget()
    assert rows(capsys.readouterr().out)[1:] == [
        ["-", "-", "jd-aggregators", OURS, "not allowed: TORCHJD_PLUGINS does not list it"]
    ]


def test_without_any_plugin_it_says_what_to_install(probe):
    assert probe("alone")["table"] == ("No plugin is installed: `pip install jd-aggregators`.\n")


def test_a_narrow_terminal_folds_the_cells_and_drops_nothing(python):
    pytest.importorskip("rich")
    terminal = {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "60"}
    ran = python("-m", "torchjd", "plugins", dists=["fails-at-import"], **terminal)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout).splitlines()
    assert max(map(len, lines)) == 60
    assert "…" not in ran.stdout
    columns = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    status = "".join(cells[4].strip() for cells in columns if cells[3].strip() in {"1.0", ""})
    assert "Noaccelerator" in status.replace(" ", "")


def test_one_name_of_two_kinds_is_no_conflict():
    plugins = [
        Plugin("a-dist", "1", "a = a", names={"aggregation": {"A": "a:A"}}),
        Plugin("b-dist", "2", "b = b", names={"linalg": {"A": "b:A"}}),
    ]
    assert [(row.name, row.kind, row.status) for row in table(plugins)] == [
        ("A", "aggregation", "ok"),
        ("A", "linalg", "ok"),
    ]


def test_without_rich_a_terminal_gets_the_plain_table(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["plugins"]) == 0
    assert rows(capsys.readouterr().out)[0] == HEADER


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "list what the installed plugins offer"),
        (["plugins", "--help"], 0, "TORCHJD_PLUGINS"),
        (["--help"], 0, "list the methods"),
        (["methods", "--help"], 0, "what it reads of"),
        (["plugin"], 2, "invalid choice: 'plugin'"),
        ([], 2, "the following arguments are required: command"),
        (["plugins", "extra"], 2, "unrecognized arguments: extra"),
    ],
)
def test_exit_codes(capsys, arguments, code, said):
    with pytest.raises(SystemExit, match=str(code)):
        main(arguments)
    captured = capsys.readouterr()
    assert said in (captured.err if code else captured.out)


def test_rows_keep_the_order_of_the_plugins():
    names = {"aggregation": {"B": "b:B", "A": "b:A"}}
    plugins = [
        Plugin("b-dist", "1", "b = b", names=names),
        Plugin("a-dist", "2", "a = a", "failed", "ValueError: [red]no[/red]"),
    ]
    assert [(row.dist, row.name, row.status) for row in table(plugins)] == [
        ("b-dist", "A", "ok"),
        ("b-dist", "B", "ok"),
        ("a-dist", "", "failed: ValueError: [red]no[/red]"),
    ]


def test_a_row_for_each_method(capsys):
    assert main(["methods"]) == 0
    header, *body = rows(capsys.readouterr().out)
    assert header == OF_METHODS
    listed = [(name, kind) for name, kind, *_ in body]
    assert listed == [
        *((method.name, "aggregation") for method in aggregation.methods()),
        *((method.name, "scalarization") for method in scalarization.methods()),
    ]
    assert {len(row) for row in body} == {len(OF_METHODS)}


@pytest.mark.parametrize(
    "expected",
    [
        [
            *["UPGrad", "aggregation", "Gramian", "-"],
            *["no conflict, permutation, linear under scaling, homogeneous", "yes", "-"],
        ],
        [
            *["Mean", "aggregation", "row count", "-"],
            *["permutation, linear under scaling, homogeneous", "yes", "yes"],
        ],
        ["Mean", "scalarization", "losses", "-", "permutation", "yes", "yes"],
    ],
    ids=lambda row: f"{row[1]}.{row[0]}",
)
def test_what_is_said_of_a_method(capsys, expected):
    main(["methods"])
    assert expected in rows(capsys.readouterr().out)


def test_methods_of_strangers_are_listed_too(python):
    ran = python("-W", "error", "-m", "torchjd", "methods", dists=["good-plugin"])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ["Largest", "aggregation", "Jacobian", *"----"] in rows(ran.stdout)


def test_methods_without_any_plugin_say_what_to_install(python):
    ran = python("-m", "torchjd", "methods", alone=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "No plugin is installed: `pip install jd-aggregators`.\n"


def test_methods_name_the_plugins_that_are_left_out(python):
    ran = python("-m", "torchjd", "methods", dists=["fails-at-import"])
    assert ran.returncode == 0
    assert ran.stderr == ("Left out: fails-at-import 1.0: RuntimeError: No accelerator was found\n")
    assert rows(ran.stdout)[0] == OF_METHODS


def test_methods_where_none_is_allowed_say_where_to_look(python):
    ran = python("-m", "torchjd", "methods", TORCHJD_PLUGINS="")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "No plugin offers a method: `python -m torchjd plugins` shows what there is.\n"
    )


@pytest.mark.parametrize(
    ("dists", "said"),
    [
        (["broken-target"], "comes from broken-target 1.0"),
        (["collides-first", "collides-second"], "is offered by 2 plugins: collides-first 1.0"),
    ],
)
def test_a_method_that_cannot_be_had_is_an_error_without_a_traceback(python, dists, said):
    ran = python("-m", "torchjd", "methods", dists=dists)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
