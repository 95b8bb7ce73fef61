"""The scale of a gradient scaler, by its public interface."""

import torch
from torch import Tensor
from torch.amp import GradScaler

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
    """Return what gradients are multiplied by, a scalar on ``device``; None where they are not."""
    if scaler is None or not scaler.is_enabled() or isinstance(scaler, JacobianScaler):
        return None
    # Scaling a one is the public way to read the scale where it is, without waiting for it.
    return scaler.scale(torch.ones((), device=device))
