"""The ways to take a step from several losses; each runs in either environment."""

from collections.abc import Callable
from typing import Any

import serving
import torch
from memory import peak_above
from torch import Tensor, nn

from torchjd.autogram import Engine

Weigh = Callable[[Tensor], Tensor]
Backward = Callable[[Tensor, Weigh], object]


def backward_by(method: str, model: nn.Module) -> Backward:
    """Return what stores the weighted gradient, with weights from the Gramian.

    :param method: ``"plain"``: no Gramian, and the sum of the losses; ``"peer"``; or a mode of our
        engine.
    :param model: The engine of the peer puts hooks on it, so it is to serve one method alone.
    """
    if method == "plain":
        return lambda losses, _: torch.autograd.backward(losses.sum())
    if method == "peer":
        return _two_calls(Engine(model, batch_dim=0))
    modes: Any = method
    return Engine(model, batch_dim=0, mode=modes).backward


def default_method() -> str:
    """Return the name of the engine that is installed here, as :func:`backward_by` knows it."""
    return "auto" if serving.is_ours() else "peer"


def peak_on(device: str, call: Callable[[], object]) -> int | None:
    """Return by how many bytes the memory in use rose at the peak of ``call``; None if unknown."""
    if device == "cpu":
        return peak_above(call)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def reason(error: Exception) -> str:
    """Return the kind of the error and the beginning of its message, on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 120 else f"{text[:117]}..."


def _two_calls(engine: Engine) -> Backward:
    def backward(losses: Tensor, weigh: Weigh) -> None:
        # The peer's Gramian is [m, m] whatever the shape of the losses, and so are its weights.
        weights = weigh(engine.compute_gramian(losses))
        torch.autograd.backward(losses, weights.reshape(losses.shape))

    return backward
