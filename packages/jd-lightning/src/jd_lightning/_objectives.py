"""What a training step wants to descend."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objectives:
    """The objectives of one training step.

    :ivar names: One for each loss; none for the losses of samples.
    :ivar losses: Scalars; or, for the losses of samples, one tensor of them all.
    :ivar features: What the tasks share, if the user said; not what is frozen.
    :ivar per_sample: Whether they are the losses of samples.
    """

    names: tuple[str, ...]
    losses: tuple[Tensor, ...]
    features: tuple[Tensor, ...] | None
    per_sample: bool

    def values(self) -> Tensor:
        """Return the values of the objectives, in at least float32, as a vector."""
        flat = torch.cat([loss.detach().reshape(-1) for loss in self.losses])
        return flat.to(torch.promote_types(flat.dtype, torch.float32))


def as_objectives(
    losses: Mapping[str, Tensor] | Sequence[Tensor] | Tensor,
    features: Tensor | Iterable[Tensor] | None,
) -> Objectives:
    """Return the objectives that the user means.

    :raises TypeError: If ``losses`` are no tensors, or ``features`` come with losses of samples.
    :raises ValueError: If there is no loss, or one has a wrong shape.
    """
    if isinstance(losses, Tensor):
        return _per_sample(losses, features)
    if isinstance(losses, Mapping):
        names, tensors = [str(name) for name in losses], list(losses.values())
        places = [f"losses[{name!r}]" for name in names]
    elif isinstance(losses, Iterable):
        tensors = list(losses)
        names = [str(i) for i in range(len(tensors))]
        places = [f"losses[{i}]" for i in range(len(tensors))]
    else:
        raise TypeError(
            "`losses` must be a mapping from names to scalar tensors, a sequence of them, or one "
            f"tensor with a loss for each sample. Got {type(losses).__name__}."
        )
    if not tensors:
        raise ValueError("`losses` must hold at least one objective. Got none.")
    for loss, place in zip(tensors, places, strict=True):
        _check_scalar(loss, place)
    return Objectives(tuple(names), tuple(tensors), _as_features(features), False)


def _as_features(features: Tensor | Iterable[Tensor] | None) -> tuple[Tensor, ...] | None:
    """Return the features through which something is trained; those of a frozen trunk are none."""
    given = [features] if isinstance(features, Tensor) else features or ()
    kept = tuple(f for f in given if not isinstance(f, Tensor) or f.requires_grad)
    return kept or None


def _per_sample(losses: Tensor, features: object) -> Objectives:
    if losses.ndim == 0:
        raise ValueError(
            "`losses`, given as one tensor, must have a loss for each sample, of shape [B] or "
            "[B, tasks]. Got a scalar. Put the scalar losses of several objectives in a dict or a "
            'list: `self.objectives({"first": a, "second": b})`.'
        )
    if features is not None:
        raise TypeError(
            "`features` must be left out where `losses` are those of samples: the Gramian engine "
            f"has no use for them. Got {type(features).__name__}."
        )
    _check_differentiable(losses, "losses")
    return Objectives((), (losses,), None, True)


def _check_scalar(loss: object, place: str) -> None:
    if not isinstance(loss, Tensor):
        raise TypeError(f"`{place}` must be a tensor. Got {type(loss).__name__}.")
    if loss.numel() != 1:
        raise ValueError(
            f"`{place}` must have one element. Got shape {list(loss.shape)}. Reduce it, for "
            "instance by `.mean()`; for one objective per sample, pass the tensor itself, "
            "`self.objectives(losses)`."
        )
    _check_differentiable(loss, place)


def _check_differentiable(loss: Tensor, place: str) -> None:
    if not loss.is_floating_point():
        raise TypeError(f"`{place}` must have a real floating dtype. Got {loss.dtype}.")
    # In validation, nothing requires grad, and nothing is descended.
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise ValueError(
            f"`{place}` must require grad. Got a tensor that does not. Leave it out, or look for "
            "frozen parameters, `.detach()` or `torch.no_grad()` on the way to it."
        )
