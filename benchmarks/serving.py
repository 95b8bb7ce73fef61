"""What the worker processes have in common: who they are, and how they are asked.

Requests and answers are lines of JSON on the standard input and output.
"""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

import torchjd


def is_ours() -> bool:
    """Return whether the library here is ours; the peer has the same import name."""
    return hasattr(torchjd, "__jd_core__")


def about() -> dict[str, str]:
    """Say what is installed here."""
    dist = "jd-core" if is_ours() else "torchjd"
    return {"library": f"{dist} {version(dist)}", "torch": torch.__version__}


def serve(worker: object) -> None:
    """Answer requests by the methods of ``worker`` until the input ends."""
    torch.set_num_threads(int(sys.argv[1]))
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        answer: Callable[..., Any] = getattr(worker, request.pop("ask"))
        print(json.dumps(answer(**request)), flush=True)
