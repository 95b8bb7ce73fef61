"""The example of mixed precision, on the CPU and, where there is one, on a GPU."""

import re

import pytest
import torch


def table(output):
    """Return, by name, the numbers of each row: right, R2, skipped, and two cosines."""
    found = {}
    for line in output.splitlines():
        match = re.match(r"(float32|b?float16, .*?) {2,}(.*)", line)
        if match:
            found[match[1]] = [float(x) for x in re.findall(r"-?\d+\.?\d*", match[2])]
    return found


def check(output):
    rows = table(output)
    assert set(rows) == {
        "float32",
        "bfloat16, no scaler",
        "float16, GradScaler",
        "float16, JacobianScaler",
    }
    assert all(row[0] > 85 for row in rows.values())
    assert all(row[3] > 0.999 for row in rows.values())
    # One scale for all loses the second task, and nothing else does.
    ink = {name: row[1] for name, row in rows.items()}
    assert ink.pop("float16, GradScaler") < 0 < 0.5 < min(ink.values())
    assert rows["float16, GradScaler"][4] == 0
    assert rows["float16, JacobianScaler"][4] > 0.999


def test_one_scale_for_all_loses_the_second_task(run_example):
    output, _ = run_example("mixed_precision")

    check(output)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_so_it_does_on_a_gpu(run_example):
    output, _ = run_example("mixed_precision_cuda")

    check(output)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA device")
def test_without_a_gpu_it_says_so(run_example):
    output, _ = run_example("mixed_precision_cuda")

    assert "needs a CUDA device" in output
    assert "examples/mixed_precision.py" in output
