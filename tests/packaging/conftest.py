"""Where the packages are; what here is no test."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
collect_ignore = ["typed_usage.py", "wheels_alone.py"]


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def sources():
    """Return, for each import package, its modules by dotted name, as paths."""
    found = {}
    for package in sorted((ROOT / "packages").glob("*/src/*")):
        if package.is_dir():
            found[package.name] = {
                ".".join((package.name, *path.relative_to(package).with_suffix("").parts)): path
                for path in sorted(package.rglob("*.py"))
            }
    return found
