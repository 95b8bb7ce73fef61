"""What a strict type checker reports to the users of the packages."""

import subprocess
import sys

import pytest

PLANTED = """\
from torchjd.aggregation import UPGrad
from torchjd.aggregation import UPGrid

reveal_type(UPGrad())
UPGrad(3)
text: str = UPGrad()
"""

EXPECTED = {
    2: 'Module "torchjd.aggregation" has no attribute "UPGrid"; maybe "UPGrad"?  [attr-defined]',
    4: 'Revealed type is "jd_aggregators._upgrad.UPGrad"',
    5: 'Argument 1 to "UPGrad" has incompatible type "int"',
    6: 'Incompatible types in assignment (expression has type "UPGrad", variable has type "str")',
}


@pytest.fixture(scope="module")
def reports(root, tmp_path_factory):
    """Check the good file and the planted one in one run, and return its lines for each."""
    pytest.importorskip("mypy", reason="mypy is not installed: the types are not checked")
    folder = tmp_path_factory.mktemp("typing")
    planted, good = folder / "planted.py", root / "tests/packaging/typed_usage.py"
    planted.write_text(PLANTED)
    options = ["--config-file", "pyproject.toml", "--cache-dir", str(folder / "cache")]
    command = [sys.executable, "-m", "mypy", *options, "--no-pretty", str(good), str(planted)]
    ran = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=300, check=False
    )
    lines = ran.stdout.splitlines()
    assert "checked 2 source files" in lines[-1], ran.stdout + ran.stderr
    of = {path.name: [line for line in lines[:-1] if path.name in line] for path in (planted, good)}
    assert sum(map(len, of.values())) == len(lines) - 1, ran.stdout
    return of


def test_right_use_is_accepted_and_each_planted_ignore_is_needed(reports):
    assert reports["typed_usage.py"] == []


@pytest.mark.parametrize("line", EXPECTED)
def test_wrong_use_is_reported(reports, line):
    (report,) = [text for text in reports["planted.py"] if f"planted.py:{line}:" in text]
    assert EXPECTED[line] in report


def test_nothing_else_is_reported(reports):
    assert len(reports["planted.py"]) == len(EXPECTED)
