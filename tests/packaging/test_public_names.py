"""The public names, as a list that people review: a name that appears or goes is a decision.

Where the change is meant, write the list anew, and read the difference:
``python tests/packaging/test_public_names.py > tests/packaging/public_names.txt``.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import pytest

PACKAGES = ["jd_aggregators", "torchjd"]


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


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_module_lists_its_public_names_once_and_sorted(module):
    assert hasattr(module, "__all__"), f"{module.__name__} must list its public names"
    assert list(module.__all__) == sorted(set(module.__all__))
    assert [name for name in module.__all__ if name[0] == "_" and name != "__version__"] == []


if __name__ == "__main__":
    print("\n".join(public_names()))
