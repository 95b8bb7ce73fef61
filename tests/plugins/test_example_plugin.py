"""``examples/plugin``, the plugin that the documentation explains, as a stranger installs it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plugin"
DISTS = ["clipped-mean"]

LOOK = """
import json, sys
import torch
from torchjd import aggregation

J = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, -2.0]])
method = {method.name: method for method in aggregation.methods()}["ClippedMean"]
json.dump(
    {
        "module": aggregation.ClippedMean.__module__,
        "dir": "ClippedMeanWeighting" in dir(aggregation),
        "update": aggregation.ClippedMean()(J).tolist(),
        "weighting": method.weighting.__name__,
        "needs": method.needs,
        "scaling": method.scaling,
    },
    sys.stdout,
)
"""

DOCUMENT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import method_pages
method_pages.write(Path(sys.argv[2]))
"""


def test_it_is_short():
    lines = [
        line
        for path in (EXAMPLE / "src").rglob("*.py")
        for line in path.read_text().splitlines()
        if line.strip()
    ]
    assert 10 < len(lines) <= 30


def test_it_passes_the_conformance_kit_by_its_own_test(python):
    options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
    test = EXAMPLE / "test_clipped_mean.py"
    ran = python("-m", "pytest", *options, str(test), dists=DISTS)
    assert ran.returncode == 0, ran.stdout
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) >= 15


@pytest.mark.parametrize("alone", [False, True], ids=["beside ours", "alone"])
@pytest.mark.parametrize("command", ["plugins", "methods"])
def test_the_command_line_lists_it(python, command, alone):
    ran = python("-W", "error", "-m", "torchjd", command, dists=DISTS, alone=alone)
    assert (ran.returncode, ran.stderr) == (0, "")
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("ClippedMean ")]
    assert ("clipped-mean" if command == "plugins" else "homogeneous") in line
    assert ("UPGrad" in ran.stdout) is not alone


def test_it_is_found_by_its_name(evaluate):
    seen = evaluate(LOOK, dists=DISTS)
    assert seen == {
        "module": "clipped_mean",
        "dir": True,
        "update": pytest.approx([2 / 3, -1 / 3]),
        "weighting": "ClippedMeanWeighting",
        "needs": "gramian",
        "scaling": "s",
    }


def test_it_has_its_page_and_its_row_in_the_documentation(python, tmp_path):
    ran = python("-c", DOCUMENT, str(ROOT / "docs"), str(tmp_path), dists=DISTS)
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "aggregators" / "ClippedMean.rst").read_text()
    assert ".. autoclass:: torchjd.aggregation.ClippedMean\n" in page
    assert ".. autoclass:: torchjd.aggregation.ClippedMeanWeighting" in page
    table = (tmp_path / "aggregators.txt").read_text()
    assert "The mean of the rows, those longer than the median cut to its length." in table
