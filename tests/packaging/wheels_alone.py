"""Build the wheel of every package, and let each pass its own tests alone.

Each wheel goes into a fresh environment with nothing but what it declares, pytest, hypothesis, and
the solvers that its tests compare with. Its tests are copied out of the tree first, so that nothing
of the tree can be imported. Wheels of sister packages come from the same build; all else from the
package index, with torch as pinned for development. Run it as
``python tests/packaging/wheels_alone.py [PACKAGE ...]``.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ["pytest", "hypothesis"]
ORACLES = {"jd-aggregators": ["cvxpy", "scipy", "matplotlib"]}
"""The independent solvers of a package's tests, and what the examples in docstrings draw with."""

FOLDERS = {"jd-aggregators": ["aggregators", "scalarizers"]}
"""The folders of a package's tests, where it is not one of the package's name."""

DECLARED = {
    "jd-core": {"torch", "pluggy"},
    "jd-aggregators": {"jd-core", "torch", "numpy", "quadprog"},
    "jd-amp": {"jd-core", "torch"},
    "jd-lightning": {"jd-core", "jd-amp", "torch", "lightning"},
}
"""What each package may need: one more is a decision."""

NOT_BROUGHT = {
    "jd-core": ["lightning", "matplotlib", "jd_aggregators", "jd_amp", "jd_lightning"],
    "jd-aggregators": ["lightning", "jd_amp", "jd_lightning"],
    "jd-amp": ["lightning", "matplotlib", "jd_aggregators", "jd_lightning"],
    "jd-lightning": ["matplotlib", "jd_aggregators"],
}
"""What must not come with a package, by any way."""

NO_NUMPY = "ignore:Failed to initialize NumPy"
"""torch's own warning at its import where numpy, which the core does not need, is missing."""

STRICT = ["-I", "-W", "error", "-W", NO_NUMPY]

STEP = """
from importlib.util import find_spec
import torch, torchjd
from torchjd.aggregation import Aggregator

class Total(Aggregator):
    def forward(self, matrix, /):
        return matrix.sum(dim=0)

weights = torch.ones(3, requires_grad=True)
torchjd.backward([weights.sum(), (2 * weights).sum()], [weights], Total())
assert weights.grad.tolist() == [3.0, 3.0, 3.0], weights.grad
print("installed" if find_spec("numpy") else "not installed")
"""


class Failure(Exception):
    """What a wheel does not stand up to."""


def main(names):
    """Check the packages of these names, by default all; return the exit code."""
    packages = sorted((ROOT / "packages").glob("*/pyproject.toml"))
    known = [path.parent.name for path in packages]
    if unknown := set(names) - set(known):
        raise SystemExit(f"No such package: {', '.join(sorted(unknown))}. There are: {known}.")
    failed, summary = [], []
    with tempfile.TemporaryDirectory(prefix="wheels-alone-") as folder:
        wheels = {name: build(name, Path(folder, "wheels")) for name in known}
        for name in names or known:
            work = Path(folder, name)
            work.mkdir()
            try:
                summary.append(f"{name}: {check(name, wheels, work)}")
            except Failure as failure:
                failed.append(name)
                summary.append(f"{name}: FAILED: {failure}")
            shutil.rmtree(work)  # an environment with torch takes about a gigabyte
    print("\n".join(["", *summary]))
    return 1 if failed else 0


def build(name, folder):
    """Build the wheel of a package into ``folder``."""
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    hatchling = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    run(*hatchling, "--directory", folder, cwd=ROOT / "packages" / name)
    (wheel,) = set(folder.iterdir()) - before
    return wheel


def check(name, wheels, work):
    """Inspect the wheel of a package, install it alone, and run its tests; return a summary."""
    module = inspect(name, wheels[name])
    python = environment(name, wheels, work)
    look = f"from importlib.util import find_spec as f; print(*filter(f, {NOT_BROUGHT[name]}))"
    brought = run(python, "-c", look, cwd=work).strip()
    expect(not brought, f"it brings {brought}")
    run(sys.executable, "-m", "pip", "--python", python, "check", cwd=work)
    run(python, *STRICT, "-c", f"import {module}", cwd=work)
    summary = [f"{wheels[name].name}, {wheels[name].stat().st_size // 1024} kB"]
    if name == "jd-core":
        numpy = run(python, *STRICT, "-c", STEP, cwd=work).strip()
        summary.append(f"a step with an aggregator of one's own, numpy {numpy}")
    summary.append(f"tests: {tests(name, python, work)}")
    if name == "jd-aggregators":  # the examples of the core use it
        summary.append(f"docstrings: {docstrings(['torchjd', module], python, work)}")
    return "; ".join(summary)


def inspect(name, wheel):
    """Check what the wheel holds; return the name of its import package."""
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
        info = next(file.split("/")[0] for file in files if file.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        declared = project(name).get("entry-points", {})
        points = f"{info}/entry_points.txt"
        text = archive.read(points).decode() if points in files else ""
    (module,) = {file.split("/")[0] for file in files} - {info}
    expect(f"{module}/py.typed" in files, "py.typed is missing")
    expect(f"{info}/licenses/LICENSE" in files, "LICENSE is missing")
    strays = [file for file in files if not file.endswith((".py", "py.typed")) and info not in file]
    expect(not strays, f"it holds {strays}")
    expect(not [file for file in files if "test_" in file or "/tests/" in file], "it holds tests")
    for group, entries in declared.items():
        for entry, target in entries.items():
            there = f"[{group}]" in text and f"{entry} = {target}" in text
            expect(there, f"the entry point {entry} is missing")
    expect(metadata["Name"] == name, f"it is called {metadata['Name']}")
    required = metadata.get_all("Requires-Dist") or []
    needs = {re.split(r"[^\w-]", line)[0] for line in required if "extra ==" not in line}
    expect(needs == DECLARED[name], f"it needs {sorted(needs)}")
    return module


def environment(name, wheels, work):
    """Make an environment with the wheel, what it declares, and the tools; return its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", work / "venv", cwd=work)
    python = work / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    constraints = work / "constraints.txt"
    sisters = [f"{sister} @ {wheel.as_uri()}" for sister, wheel in wheels.items() if sister != name]
    constraints.write_text("\n".join([pinned_torch(), *sisters]))
    options = ["--quiet", "--constraint", constraints]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *options]
    run(*pip, wheels[name], *TOOLS, *ORACLES.get(name, []), cwd=work)
    return python


def tests(name, python, work):
    """Run the tests of the package, from a copy; return pytest's last line."""
    for folder in FOLDERS.get(name, [name.removeprefix("jd-")]):
        source = ROOT / "tests" / folder
        expect(source.is_dir(), f"it has no tests: tests/{folder} does not exist")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, work / "tests" / folder, ignore=ignored)
    for shared in (ROOT / "tests").glob("*.py"):
        shutil.copy(shared, work / "tests")
    return pytest(python, work, "tests")


def docstrings(modules, python, work):
    """Run the examples in the docstrings of installed modules; return pytest's last line."""
    return pytest(python, work, "--doctest-modules", "--pyargs", *modules)


def pytest(python, work, *arguments):
    """Run pytest with the settings of the tree; return its last line."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    lines = ["[pytest]", "addopts = --import-mode=importlib --strict-markers -ra"]
    settings["filterwarnings"] = [*settings.get("filterwarnings", ["error"]), NO_NUMPY]
    for key in sorted(settings.keys() - {"addopts", "testpaths"}):
        value = settings[key]
        lines.append(f"{key} = " + ("\n  ".join(value) if isinstance(value, list) else str(value)))
    (work / "pytest.ini").write_text("\n".join(lines))
    return run(python, "-m", "pytest", "-q", *arguments, cwd=work).strip().splitlines()[-1]


def project(name):
    """Return the project table of a package."""
    return tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]


def pinned_torch():
    """Return the requirement of torch of the development environment."""
    environments = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]
    wanted = environments["default"]["dependencies"]
    (pin,) = [requirement for requirement in wanted if requirement.startswith("torch==")]
    return pin


def expect(condition, complaint):
    """Fail with ``complaint`` unless ``condition`` holds."""
    if not condition:
        raise Failure(complaint)


def run(*command, cwd):
    """Print a command, run it, and return what it prints."""
    words = [str(word) for word in command]
    print("$", *(word if "\n" not in word else "..." for word in words), flush=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    ran = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        print(ran.stdout, ran.stderr, sep="\n", flush=True)
        raise Failure(f"exit code {ran.returncode} of `{' '.join(words[:4])} ...`")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
