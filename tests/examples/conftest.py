import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL = {
    "auto_mpg": ["--seeds", "2", "--steps", "30"],
    "instance_wise_multi_task": ["--seeds", "1", "--epochs", "2"],
    "new_digits": ["--seeds", "1", "--steps", "10"],
    "two_objectives": ["--steps", "150"],
}
"""Arguments with which a script runs in seconds; the others do by themselves."""


@pytest.fixture(params=sorted(path.stem for path in EXAMPLES.glob("[!_]*.py")))
def example(request: pytest.FixtureRequest) -> str:
    """Each script of ``examples/``: a new one is tested from the day it is there."""
    return request.param


@pytest.fixture(scope="session")
def run_example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, Path]]:
    """Run a script once, warnings being errors; return its output and the directory it ran in."""

    @cache
    def run(name: str) -> tuple[str, Path]:
        directory = tmp_path_factory.mktemp(name)
        command = [
            sys.executable,
            "-W",
            "error",
            str(EXAMPLES / f"{name}.py"),
            *SMALL.get(name, []),
        ]
        environment = {**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # On a new machine, matplotlib says once that it builds its font cache.
        assert [line for line in done.stderr.splitlines() if "font cache" not in line] == []
        return done.stdout, directory

    return run


@pytest.fixture(scope="session")
def load_example() -> Callable[[str], ModuleType]:
    """Import a script without running its ``main``."""

    @cache
    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
