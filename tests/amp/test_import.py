"""What the package is, and next to what it refuses to be."""

import os
import subprocess
import sys

import jd_amp


def test_public_names():
    assert jd_amp.__all__ == [
        "JacobianScaler",
        "UnscaledWeighting",
        "drop_nonfinite_grads",
        "jac_to_grad",
        "skip_nonfinite_steps",
    ]
    assert all(hasattr(jd_amp, name) for name in jd_amp.__all__)


def imported(code, path):
    paths = [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_the_torchjd_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "torchjd.py").write_text("")
    ran = imported("import jd_amp", tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1] == (
        "ImportError: `jd-amp` needs the `torchjd` of jd-core, and found that of another "
        "distribution, which has its place: `pip uninstall torchjd jd-core`, then "
        "`pip install jd-core`."
    )


def test_it_imports_no_package_that_it_does_not_need(tmp_path):
    code = (
        "import sys, jd_amp; print(*{'jd_aggregators', 'lightning', 'quadprog'} & {*sys.modules})"
    )
    ran = imported(code, tmp_path)
    assert (ran.returncode, ran.stdout.strip()) == (0, "")
