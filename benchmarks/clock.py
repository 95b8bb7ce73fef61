"""How long calls take, wherever they compute."""

import time
from collections.abc import Callable

import torch


def seconds_a_call(call: Callable[[], object], calls: int = 1) -> float:
    """Return the seconds of ``calls`` calls, over their number."""
    _wait()
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    _wait()
    return (time.perf_counter() - begin) / calls


def _wait() -> None:
    # A GPU answers before it has computed.
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
