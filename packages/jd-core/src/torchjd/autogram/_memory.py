"""How much may be kept between the Gramian and the weighted gradient."""

import os

import torch

# Of the memory that is free: what is kept is not the only thing that will be allocated.
_SHARE = 4


def free_bytes(device: torch.device) -> int:
    """Return how many bytes are free on ``device``; more than there can be if it is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + reserved
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", ()):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1 << 62


def room(budget: int | None, device: torch.device) -> int:
    """Return the most bytes that may be kept on ``device``."""
    return free_bytes(device) // _SHARE if budget is None else budget
