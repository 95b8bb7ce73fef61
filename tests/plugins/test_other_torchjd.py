"""The distribution ``torchjd`` of somebody else, installed beside ours in either order."""

import pytest

REFUSAL = (
    "ImportError: `jd-core` needs the import name `torchjd` for itself, and a distribution called "
    "`torchjd` is installed beside it: `pip uninstall torchjd jd-core`, then `pip install jd-core`."
)
SISTERS = ["jd-aggregators", "jd-amp", "jd-lightning"]
SISTER = (
    "ImportError: `{}` needs the `torchjd` of jd-core, and found that of another distribution, "
    "which has its place: `pip uninstall torchjd jd-core`, then `pip install jd-core`."
)


@pytest.mark.parametrize("code", ["import torchjd", "import jd_aggregators"])
def test_ours_refuses_where_theirs_is_installed_too(python, sites, code):
    theirs = str(sites["torchjd"])
    ran = python("-c", f"import sys; sys.path.append({theirs!r}); {code}")
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1] == REFUSAL


def test_the_command_line_refuses_too(python, sites):
    script = f"import sys, runpy; sys.path.append({str(sites['torchjd'])!r}); runpy.run_module("
    ran = python("-c", script + "'torchjd', run_name='__main__')")
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1] == REFUSAL


@pytest.mark.parametrize("sister", SISTERS)
def test_a_sister_refuses_theirs_where_it_is_found_first(python, sister):
    ran = python("-c", f"import {sister.replace('-', '_')}", dists=["torchjd"])
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1] == SISTER.format(sister)
