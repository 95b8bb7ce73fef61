"""The public names, as a list that people review: a name that appears or goes is a decision.

Where the change is meant, write the list anew, and read the difference:
``python tests/packaging/test_public_names.py > tests/packaging/public_names.txt``.

The tables of methods and of solvers are no part of it. A module that is a table has no ``__all__``:
each of its lines is a name. The table of the conformance tests has the names of all methods, so to
add one is not to edit this list too.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import pytest

PACKAGES = ["jd_aggregators", "jd_amp", "jd_lightning", "torchjd"]
TABLES = {f"jd_aggregators.{kind}" for kind in ("aggregators", "projectors", "scalarizers")}


def modules(name):
    """Return a module and its public submodules, at any depth."""
    module = import_module(name)
    inner = iter_modules(getattr(module, "__path__", []))
    public = [part.name for part in inner if not part.name.startswith("_")]
    return [module, *(found for part in public for found in modules(f"{name}.{part}"))]


MODULES = [module for package in PACKAGES for module in modules(package)]


def public_names():
    """Return every public name, dotted, in the order of the list."""
    return sorted(
        f"{module.__name__}.{name}"
        for module in MODULES
        for name in getattr(module, "__all__", ())
        if not isinstance(getattr(module, name), ModuleType)
    )


def test_the_public_names_are_those_reviewed(root):
    reviewed = (root / "tests/packaging/public_names.txt").read_text().split()
    found = public_names()
    appeared, gone = sorted({*found} - {*reviewed}), sorted({*reviewed} - {*found})
    assert found == reviewed, f"appeared: {appeared}; gone: {gone}. If meant: {__doc__}"


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if module.__name__ not in TABLES],
    ids=lambda module: module.__name__,
)
def test_a_module_lists_its_public_names_once_and_sorted(module):
    assert hasattr(module, "__all__"), f"{module.__name__} must list its public names"
    assert list(module.__all__) == sorted(set(module.__all__))
    assert [name for name in module.__all__ if name[0] == "_" and name != "__version__"] == []


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_has_nothing_public_but_its_lines(name):
    table = import_module(name)
    assert not hasattr(table, "__all__")
    public = {key: value for key, value in vars(table).items() if key[0] != "_"}
    assert {key: value.__name__ for key, value in public.items()} == {key: key for key in public}
    assert all(isinstance(value, type) for value in public.values())


if __name__ == "__main__":
    print("\n".join(public_names()))
