"""How much memory a call needs at its peak, above what was there just before."""

import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_THE_PEAK = "5"


def peak_above(call: Callable[[], object]) -> int | None:
    """Return by how many bytes the resident memory rose at the peak of ``call``; None if unknown.

    Where the kernel's mark of the peak cannot be reset, it is that of the process' whole life: an
    upper bound, and the right answer if no moment before needed more.
    """
    gc.collect()
    _give_back_free_memory()
    before = _status("VmRSS")
    if before is None:
        call()
        return None
    try:
        _CLEAR.write_text(_RESET_THE_PEAK)
    except OSError:
        call()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    call()
    peak = _status("VmHWM")
    return None if peak is None else peak - before


def _give_back_free_memory() -> None:
    # What an earlier call freed, and the allocator kept, would hide that the next call needs it.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(name: str) -> int | None:
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None
