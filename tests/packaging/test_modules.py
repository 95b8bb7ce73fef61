"""The shape of the modules: small, documented, and of one mind about what the plugin offers."""

import ast
from importlib import import_module
from statistics import median

import pytest

import jd_aggregators
from jd_aggregators import _plugin, aggregators, projectors, scalarizers
from torchjd.aggregation import Aggregator, Weighting
from torchjd.scalarization import Scalarizer

LONGEST, MEDIAN = 400, 80
METHODS = (Aggregator, Weighting, Scalarizer)
TABLES = {
    "torchjd.aggregation": (aggregators, _plugin.torchjd_aggregators),
    "torchjd.linalg": (projectors, _plugin.torchjd_projectors),
    "torchjd.scalarization": (scalarizers, _plugin.torchjd_scalarizers),
}
"""For each module of the core, the table of what appears in it, and the hook that offers it."""


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


def lines_of(tree):
    """Return the module and the name, as which it is imported too, of each import of a table."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [(line.module, alias.name, alias.asname) for line in imports for alias in line.names]


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


@pytest.mark.parametrize("module", TABLES)
def test_the_plugin_offers_its_table(trees, module):
    table, hook = TABLES[module]
    lines = lines_of(trees.get(table.__name__) or trees[f"{table.__name__}.__init__"])
    assert len(lines) > 0
    assert [same for _, _, same in lines] == [name for _, name, _ in lines]  # a re-export
    assert hook() == {name: f"{table.__package__}.{inner}:{name}" for inner, name, _ in lines}


@pytest.mark.parametrize("module", TABLES)
def test_what_the_plugin_offers_is_what_its_table_imports(module):
    table, hook = TABLES[module]
    for name, place in hook().items():
        defined_in, attribute = place.split(":")
        assert getattr(import_module(defined_in), attribute) is getattr(table, name)


@pytest.mark.parametrize("module", TABLES)
def test_type_checkers_are_told_what_the_plugin_offers(trees, module):
    (block,) = [node for node in trees[f"{module}.__init__"].body if is_typing_block(node)]
    (line,) = block.body
    assert ast.unparse(line) == f"from {TABLES[module][0].__name__} import *"


def is_typing_block(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_the_package_has_what_its_tables_have():
    offered = {
        name: getattr(table, name)
        for table, hook in (TABLES["torchjd.aggregation"], TABLES["torchjd.linalg"])
        for name in hook()
    }
    assert {name: getattr(jd_aggregators, name) for name in offered} == offered
    assert offered.keys() <= set(dir(jd_aggregators))


def test_no_method_is_missing_from_the_tables(sources):
    """A class that is neither in a table nor the base of one that is was forgotten."""
    modules = [import_module(name.removesuffix(".__init__")) for name in sources["jd_aggregators"]]
    defined = {cls for module in modules for cls in methods_in(module)}
    listed = {cls for table, _ in TABLES.values() for cls in methods_in(table)}
    assert defined - {base for cls in listed for base in cls.__mro__} == set()
    assert len(listed) > 10


def methods_in(module):
    """Return the methods among the values of a module that are of the package."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    ours = [cls for cls in classes if cls.__module__.startswith("jd_aggregators.")]
    return {cls for cls in ours if issubclass(cls, METHODS)}
