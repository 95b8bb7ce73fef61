"""Tiny distributions that pip builds and installs, and processes that see some of them."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

import torchjd

HERE = Path(__file__).parent
EXAMPLES = [HERE.parents[1] / "examples" / name for name in ("gramian_rule", "plugin")]
TROUBLE = ["asks-too-early", "broken-target", "exits-at-import", "fails-at-import"]
TROUBLE += ["imports-itself", "misspelt-hook", "no-hook", "not-a-mapping", "takes-core-names"]

# what is installed, and what ``probe.py`` asks for
SITUATIONS = {
    "healthy": (
        ["silent", "good-plugin", "collides-second", "collides-first", "only-projects"],
        [
            *["UPGrad", "Largest", "OnlyFirst", "OnlySecond", "Twin", "UPGrid", "upgrad"],
            *["Nonsense", "Unmoved", "linalg.Unmoved", "linalg.ExactProjector", "linalg.UPGrad"],
            *["linalg.ExactProjecter", "linalg.DualConeProjector"],
        ],
    ),
    "broken": (
        [*TROUBLE, "good-plugin"],
        [
            *["UPGrad", "Largest", "Unseen", "Lost", "Absent", "linalg.Unmet"],
            *["linalg.DualConeProjector", "linalg.ExactProjector"],
        ],
    ),
    "alone": (None, ["UPGrad", "linalg.ExactProjector"]),
}
collect_ignore = ["probe.py", "rule_probe.py"]
collect_ignore_glob = ["dists/*"]


def tops(dist):
    """Return the files and folders of an installed distribution, at the top of its site."""
    return {
        file.parts[0] for file in dist.files or () if file.parts[0] not in {"..", "__pycache__"}
    }


@pytest.fixture(scope="session")
def sites(tmp_path_factory):
    """Install each distribution under ``dists``, and the examples, each into a site of its own.

    No network is used.
    """
    installed = tmp_path_factory.mktemp("installed")
    sources = [*sorted((HERE / "dists").iterdir()), *EXAMPLES]
    projects = [tomllib.loads((s / "pyproject.toml").read_text())["project"] for s in sources]
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--no-compile",
        "--target",
        str(installed),
    ]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *options, *map(str, sources)]
    subprocess.run(command, check=True, timeout=300)
    found = {}
    for dist in distributions(path=[str(installed)]):
        site = found[dist.name] = tmp_path_factory.mktemp(dist.name)
        for top in tops(dist):
            (installed / top).rename(site / top)
    assert sorted(found) == sorted(project["name"] for project in projects)
    return found


@pytest.fixture(scope="session")
def core_alone(tmp_path_factory):
    """Return a search path that has all of this environment but the plugins of torchjd."""
    links = tmp_path_factory.mktemp("core_alone")
    site = Path(sysconfig.get_paths()["purelib"])
    plugins = [dist for dist in distributions() if dist.entry_points.select(group="torchjd")]
    hidden = set().union(*map(tops, plugins))
    for path in site.iterdir():
        if path.name not in hidden:
            (links / path.name).symlink_to(path)
    return [links, Path(torchjd.__file__).parents[1]]


@pytest.fixture(scope="session")
def python(sites, core_alone):
    """Run a Python that finds the named distributions before those of this environment."""

    def run(*arguments, dists=(), alone=False, **variables):
        ignored = ("PYTHON", "TORCHJD_", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "TERM", "TTY_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(ignored)}
        path = [sites[dist] for dist in dists] + (core_alone if alone else [])
        environment |= {"PYTHONPATH": os.pathsep.join(map(str, path))} | variables
        return subprocess.run(
            # -S: the editable packages of this environment are entered by its site module.
            [sys.executable, "-P", *(["-S"] if alone else []), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def probe(python):
    """Return what ``probe.py`` prints in a situation; it runs once for each."""
    known = {}

    def ask(situation):
        if situation not in known:
            dists, names = SITUATIONS[situation]
            probe = str(HERE / "probe.py")
            ran = python(probe, *names, dists=dists or [], alone=dists is None)
            assert ran.returncode == 0, ran.stderr
            known[situation] = json.loads(ran.stdout)
        return known[situation]

    return ask


@pytest.fixture(scope="session")
def evaluate(python):
    """Run a script that prints JSON, and return what it prints."""

    def run(script, **options):
        ran = python("-c", script, **options)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run
