"""Where several ranks are initialised, nothing aggregates unless the user says so."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

import torchjd

from .rank import CALLS


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")
@pytest.mark.parametrize("world_size", [1, 2])
def test_ranks(world_size, tmp_path):
    script = Path(__file__).with_name("rank.py")
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(world_size), tmp_path / "store"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * world_size, errors


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_without_a_process_group_everything_runs(call):
    assert call().grad is not None


def fail_inside():
    with torchjd.distributed.local():
        CALLS["backward"]()
        raise ArithmeticError("inside")


def test_local_is_left_after_an_exception(monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 4)
    with pytest.raises(ArithmeticError, match="inside"):
        fail_inside()
    with pytest.raises(RuntimeError, match="group of 4 ranks"):
        CALLS["backward"]()
