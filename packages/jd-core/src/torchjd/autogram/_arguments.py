"""Checks of what users hand to the Gramian engine, each error in the user's own terms."""

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

Mode = Literal["auto", "reuse", "stream"]
"""How the weighted gradient is computed; :class:`Engine` explains."""


def as_modules(modules: Sequence[object]) -> tuple[nn.Module, ...]:
    """Return ``modules`` if they are modules, and at least one.

    :raises TypeError: If one is no module.
    :raises ValueError: If there is none.
    """
    if not modules:
        raise ValueError(
            "`modules` must be at least one module, whose parameters the Gramian is for. Got none. "
            "Pass the model, for instance `Engine(model, batch_dim=0)`."
        )
    for i, module in enumerate(modules):
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"`modules[{i}]` must be a torch.nn.Module. Got {type(module).__name__}. Pass "
                "modules one by one, and put single parameters into a `torch.nn.ParameterList`."
            )
    return tuple(module for module in modules if isinstance(module, nn.Module))


def as_batch_dim(value: Any) -> int | None:
    """Return ``batch_dim`` if it is None or an int.

    :raises TypeError: If it is neither.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(
            f"`batch_dim` must be None or an int. Got {value!r}, a {type(value).__name__}."
        )
    return value


def as_mode(value: Any) -> Mode:
    """Return ``mode`` if it is one.

    :raises ValueError: If it is none.
    """
    if value not in get_args(Mode):
        raise ValueError(f"`mode` must be one of {', '.join(get_args(Mode))}. Got {value!r}.")
    return cast("Mode", value)


def as_budget(value: Any) -> int | None:
    """Return ``budget`` if it is None or a number of bytes.

    :raises TypeError: If it is neither None nor an int.
    :raises ValueError: If it is negative.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"`budget` must be None or an int, a number of bytes. Got {value!r}, "
            f"a {type(value).__name__}."
        )
    if value < 0:
        raise ValueError(f"`budget` must be at least 0 bytes. Got {value}.")
    return value


def check_output(output: Any, batch_dim: int | None) -> int | None:
    """Refuse what is no tensor of losses; return the dimension of its samples, at least 0.

    :raises TypeError: If ``output`` is no tensor, or not of a real floating dtype.
    :raises ValueError: If it does not require grad, is empty, or lacks ``batch_dim``.
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"`output` must be a tensor of losses. Got {type(output).__name__}.")
    if not output.is_floating_point():
        raise TypeError(f"`output` must have a real floating dtype. Got {output.dtype}.")
    if not output.requires_grad:
        raise ValueError(
            "`output` must require grad. Got a tensor that does not. Compute it from parameters "
            "that are not frozen, outside `torch.no_grad()`."
        )
    if output.numel() == 0:
        raise ValueError(
            f"`output` must have at least one element. Got shape {list(output.shape)}. "
            "Skip the step when there is no loss."
        )
    if batch_dim is None:
        return None
    if not -output.ndim <= batch_dim < output.ndim:
        raise ValueError(
            f"`batch_dim` must be a dimension of `output`. Got {batch_dim} for an output of shape "
            f"{list(output.shape)}. Compute one loss a sample (`reduction='none'`), or pass "
            "`batch_dim=None` to the engine for losses that are averages over samples."
        )
    return batch_dim % output.ndim


def check_weighting(weighting: Any) -> None:
    """Refuse what cannot be called.

    :raises TypeError: If ``weighting`` is not callable, or a class.
    """
    if isinstance(weighting, type) or not callable(weighting):
        found = f"the class {weighting.__name__}" if isinstance(weighting, type) else weighting
        raise TypeError(
            "`weighting` must be callable: it gets the Gramian and returns the weights. "
            f"Got {found!r}. Pass an instance, for instance `UPGradWeighting()`."
        )


def check_weights(weights: Any, output: Tensor) -> Tensor:
    """Return ``weights`` if they are one real number a loss.

    :raises TypeError: If they are no floating-point tensor.
    :raises ValueError: If they do not have the shape of ``output``.
    """
    if not isinstance(weights, Tensor) or not torch.is_floating_point(weights):
        found = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise TypeError(f"`weighting` must return a floating-point tensor. Got {found}.")
    if weights.shape != output.shape:
        raise ValueError(
            f"`weighting` must return one weight for each element of `output`, of shape "
            f"{list(output.shape)}. Got {list(weights.shape)}."
        )
    return weights
