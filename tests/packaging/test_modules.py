"""The shape of the modules: small, documented, and of one mind about what the plugin offers."""

import ast
import inspect
from statistics import median

import pytest

import jd_aggregators
from jd_aggregators import _plugin
from torchjd.aggregation import Aggregator, Weighting

LONGEST, MEDIAN = 400, 80


@pytest.fixture(scope="module")
def trees(sources):
    return {
        name: ast.parse(path.read_text())
        for modules in sources.values()
        for name, path in modules.items()
    }


def undocumented(name, tree):
    """Return the module, and its public functions and classes, that have no docstring."""
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    found = [] if ast.get_docstring(tree) else [name]
    return found + [f"{name}.{node.name}" for node in public if not ast.get_docstring(node)]


def exported_methods():
    """Return the aggregators and weightings that ``jd_aggregators`` exports."""
    exported = {name: getattr(jd_aggregators, name) for name in jd_aggregators.__all__}
    return {
        name
        for name, value in exported.items()
        if inspect.isclass(value) and issubclass(value, Aggregator | Weighting)
    }


def test_modules_are_small(sources):
    lengths = {
        name: len(path.read_text().splitlines())
        for modules in sources.values()
        for name, path in modules.items()
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
    assert median(lengths.values()) <= MEDIAN


def test_everything_public_has_a_docstring(trees):
    assert [fault for name, tree in trees.items() for fault in undocumented(name, tree)] == []


def test_a_planted_want_of_docstrings_is_found():
    planted = "class A: ...\ndef f(): 'It says.'\ndef g():\n    return 1\ndef _h(): ..."
    assert undocumented("planted", ast.parse(planted)) == ["planted", "planted.A", "planted.g"]


def test_the_plugin_offers_what_the_package_exports():
    offered = _plugin.torchjd_aggregators()
    assert set(offered) == exported_methods()
    assert offered == {name: f"jd_aggregators:{name}" for name in sorted(offered)}


def test_type_checkers_are_told_what_the_plugin_offers(trees):
    (block,) = [
        node for node in trees["torchjd.aggregation.__init__"].body if is_typing_block(node)
    ]
    told = [alias for node in block.body for alias in node.names]
    assert {node.module for node in block.body} == {"jd_aggregators"}
    assert [alias.asname for alias in told] == [alias.name for alias in told]  # a re-export
    assert {alias.name for alias in told} == exported_methods()


def is_typing_block(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
