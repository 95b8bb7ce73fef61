"""What a method may need beside the matrix it weighs: declared on its class, checked here."""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

Needs = Literal["jacobian", "gramian", "cross gramian", "row count"]
"""What a method reads of the Jacobian; :class:`Weighting` explains."""

Losses = Tensor | Sequence[Tensor]
"""The values of the objectives: a tensor of m elements, or m tensors of one element."""


class Declared(Protocol):
    """What says what it needs."""

    @property
    def needs(self) -> Needs:
        """What it reads of the Jacobian."""

    @property
    def needs_losses(self) -> bool:
        """Whether it reads the values of the objectives."""


def extra_inputs(
    method: Declared, m: int, losses: Losses | None, cross_gramian: Tensor | None
) -> dict[str, Tensor]:
    """Return, by name, the inputs that ``method`` declares beside the matrix, and no other.

    :param method: What will be called.
    :param m: The number of objectives.
    :param losses: Their values, if the caller has them.
    :param cross_gramian: The Gramian across two batches, if the caller has it.
    :raises TypeError: If one that is declared is missing, or is no floating-point tensor.
    :raises ValueError: If one has a wrong shape.
    """
    found: dict[str, Tensor] = {}
    if method.needs_losses:
        found["losses"] = as_losses(losses, m, type(method).__name__)
    if method.needs == "cross gramian":
        found["cross_gramian"] = as_cross_gramian(cross_gramian, m, type(method).__name__)
    return found


def require_inputs(method: Declared, *, losses: bool, cross_gramian: bool) -> None:
    """Refuse a call that lacks what ``method`` declares, before anything is computed.

    :param method: What will be called.
    :param losses: Whether the caller will have the values of the objectives.
    :param cross_gramian: Whether the caller has the Gramian across two batches.
    :raises TypeError: If one that is declared is missing.
    """
    if method.needs_losses and not losses:
        as_losses(None, 0, type(method).__name__)
    if method.needs == "cross gramian" and not cross_gramian:
        as_cross_gramian(None, 0, type(method).__name__)


def as_losses(losses: Losses | None, m: int, name: str) -> Tensor:
    """Return ``losses`` as a vector that does not require grad.

    :param losses: What the user passed.
    :param m: How many are required.
    :param name: Of the method that needs them.
    :raises TypeError: If they are None, or no floating-point tensors.
    :raises ValueError: If there are not m.
    """
    if losses is None:
        raise TypeError(
            f"`losses` must be given: `{name}` reads the value of each objective. Got None. Pass "
            "`losses=`, a tensor with one element per objective, to the call."
        )
    if not isinstance(losses, Iterable):  # a tensor is iterable to Python
        raise TypeError(f"`losses` must be floating-point tensors. Got {type(losses).__name__}.")
    parts = [losses] if isinstance(losses, Tensor) else list(losses)
    for part in parts:
        if not isinstance(part, Tensor) or not part.is_floating_point():
            kind = part.dtype if isinstance(part, Tensor) else type(part).__name__
            raise TypeError(f"`losses` must be floating-point tensors. Got {kind}.")
    count = sum(part.numel() for part in parts)
    if count != m:
        raise ValueError(
            f"`losses` must have one element per objective, {m}. Got {count}. Pass the losses "
            "that the rows of the Jacobian are the gradients of, in their order."
        )
    values = [part.detach().reshape(-1) for part in parts]
    return values[0] if len(values) == 1 else torch.cat(values)


def as_cross_gramian(cross_gramian: Tensor | None, m: int, name: str) -> Tensor:
    """Return ``cross_gramian``, which does not require grad.

    :param cross_gramian: What the user passed.
    :param m: The number of objectives.
    :param name: Of the method that needs it.
    :raises TypeError: If it is None, or no floating-point tensor.
    :raises ValueError: If it is not of shape ``[m, m]``.
    """
    if cross_gramian is None:
        raise TypeError(
            f"`cross_gramian` must be given: `{name}` reads the inner products of the gradients "
            "on two independent batches. Got None. Compute it with "
            "`torchjd.linalg.cross_gramian(first, second)`, and pass `cross_gramian=` to the call."
        )
    if not isinstance(cross_gramian, Tensor) or not cross_gramian.is_floating_point():
        is_tensor = isinstance(cross_gramian, Tensor)
        kind = cross_gramian.dtype if is_tensor else type(cross_gramian).__name__
        raise TypeError(f"`cross_gramian` must be a floating-point tensor. Got {kind}.")
    if cross_gramian.shape != (m, m):
        raise ValueError(
            f"`cross_gramian` must have shape [{m}, {m}]. Got {list(cross_gramian.shape)}."
        )
    return cross_gramian.detach()
