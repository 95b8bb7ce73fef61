"""The scale of a gradient scaler, by its public interface."""

from functools import cache

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import SGD, Optimizer

from ._jacobian_scaler import JacobianScaler


def check_scaler(scaler: object, *, optional: bool) -> None:
    """Refuse what is no gradient scaler.

    :param optional: Whether None is one.
    :raises TypeError: If ``scaler`` is none.
    """
    if isinstance(scaler, GradScaler) or (optional and scaler is None):
        return
    found = f"the class {scaler.__name__}" if isinstance(scaler, type) else type(scaler).__name__
    or_none = ", or None for training without one, as with bfloat16" if optional else ""
    raise TypeError(
        f"`scaler` must be a torch.amp.GradScaler or a jd_amp.JacobianScaler{or_none}. Got {found}."
    )


def scale_on(scaler: GradScaler | None, device: torch.device) -> Tensor | None:
    """Return what gradients are multiplied by, a scalar on ``device``; None where they are not.

    :raises RuntimeError: If ``scaler`` has not scaled anything.
    """
    if scaler is None or not scaler.is_enabled() or isinstance(scaler, JacobianScaler):
        return None
    # The scaler makes its scale at first use, and refuses to step without. To scale something here
    # would hide from it that the losses were not, and `step` would divide their gradients.
    if not _has_scaled(scaler):
        raise RuntimeError(
            "`scaler` must have scaled the losses before the backward pass. Got a scaler that has "
            "not scaled anything. Pass `scaler.scale(losses)` to `backward`; or use a "
            "jd_amp.JacobianScaler, and its own `backward` or `mtl_backward`."
        )
    # Scaling a one is the public way to read the scale where it is, without waiting for it.
    return scaler.scale(torch.ones((), device=device))


def _has_scaled(scaler: GradScaler) -> bool:
    """Return whether ``scaler`` has scaled anything yet, by what it refuses until then."""
    try:
        scaler.unscale_(_without_gradients())
    except (AssertionError, AttributeError):  # the latter where Python runs without assertions
        return False
    except RuntimeError:  # it was asked since the last update already
        return True
    return True


@cache
def _without_gradients() -> Optimizer:
    """Return an optimizer of which a scaler has nothing to unscale."""
    return SGD([torch.zeros((), requires_grad=True)], lr=0.0)
