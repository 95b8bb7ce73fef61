"""Checks of what users hand to the Jacobian engine, each error in the user's own terms."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor


def as_tensors(value: object, name: str) -> list[Tensor]:
    """Return ``value``, a tensor or an iterable of tensors, as a list that is not empty.

    :raises TypeError: If it is neither.
    :raises ValueError: If it is empty.
    """
    if isinstance(value, Tensor):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | dict):
        raise TypeError(
            f"`{name}` must be a tensor or an iterable of tensors. Got {type(value).__name__}."
        )
    tensors = list(value)
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"`{name}` must contain tensors only. Got {type(tensor).__name__} at position {i}."
            )
    if not tensors:
        raise ValueError(
            f"`{name}` must contain at least one tensor. Got none. "
            "A generator that was used before is empty: pass a list to use it twice."
        )
    return tensors


def as_outputs(value: object, name: str) -> list[Tensor]:
    """Return what is to be differentiated: tensors with a graph and at least one element.

    :raises TypeError: If it is no tensor or iterable of tensors, or not of a real floating dtype.
    :raises ValueError: If a tensor does not require grad, or is empty.
    """
    outputs = as_tensors(value, name)
    for i, output in enumerate(outputs):
        where = f"`{name}`" if isinstance(value, Tensor) else f"`{name}[{i}]`"
        _check_differentiable(output, where)
        if output.numel() == 0:
            raise ValueError(
                f"{where} must have at least one element. Got shape {list(output.shape)}. "
                "Leave out a loss whose mask selects nothing."
            )
    return outputs


def as_inputs(value: object, name: str) -> list[Tensor]:
    """Return with respect to what to differentiate: distinct tensors that require grad.

    :raises TypeError: If it is no tensor or iterable of tensors, or not of a real floating dtype.
    :raises ValueError: If a tensor does not require grad, appears twice, or is distributed.
    """
    inputs = as_tensors(value, name)
    for i, tensor in enumerate(inputs):
        where = f"`{name}`" if isinstance(value, Tensor) else f"`{name}[{i}]`"
        _check_differentiable(tensor, where)
        if type(tensor).__module__.startswith("torch.distributed"):
            raise ValueError(
                f"{where} must be a plain tensor. Got a {type(tensor).__name__}, with respect to "
                "which autograd gives no gradient. Sharded parameters are not supported."
            )
    refuse_duplicates(inputs, name)
    return inputs


def refuse_duplicates(tensors: Sequence[Tensor], name: str) -> None:
    """Refuse a tensor that appears twice.

    :raises ValueError: If one does.
    """
    positions: dict[int, int] = {}
    for i, tensor in enumerate(tensors):
        first = positions.setdefault(id(tensor), i)
        if first != i:
            raise ValueError(
                f"`{name}` must not contain a tensor twice. Got the same one at positions {first} "
                f"and {i}. Tied parameters are named once: pass each of them one time."
            )


def as_cotangents(value: object, name: str, outputs: Sequence[Tensor], of: str) -> list[Tensor]:
    """Return one tensor of shape ``[m, *output.shape]`` for each output, all of the same m.

    :param of: The user's name for ``outputs``.
    :raises TypeError: If it is no tensor or iterable of tensors, or a dtype is not the output's.
    :raises ValueError: If their number or a shape does not fit.
    """
    cotangents = as_tensors(value, name)
    _check_count(cotangents, name, outputs, of)
    for i, (cotangent, output) in enumerate(zip(cotangents, outputs, strict=True)):
        _check_like(cotangent, f"{name}[{i}]", output, f"{of}[{i}]")
        if cotangent.ndim == 0 or cotangent.shape[1:] != output.shape:
            raise ValueError(
                f"`{name}[{i}]` must have shape [m, *{of}[{i}].shape], "
                f"[m, {', '.join(map(str, output.shape))}]. Got {list(cotangent.shape)}."
            )
    rows = [cotangent.shape[0] for cotangent in cotangents]
    if len(set(rows)) > 1 or rows[0] == 0:
        raise ValueError(
            f"`{name}` must have one and the same first dimension, of at least 1: the rows of the "
            f"Jacobian. Got {rows}."
        )
    return cotangents


def as_grad_tensors(value: object, name: str, outputs: Sequence[Tensor], of: str) -> list[Tensor]:
    """Return one tensor of the shape of each output.

    :param of: The user's name for ``outputs``.
    :raises TypeError: If it is no iterable of tensors, or a dtype is not the output's.
    :raises ValueError: If their number or a shape does not fit.
    """
    cotangents = as_tensors(value, name)
    _check_count(cotangents, name, outputs, of)
    for i, (cotangent, output) in enumerate(zip(cotangents, outputs, strict=True)):
        _check_like(cotangent, f"{name}[{i}]", output, f"{of}[{i}]")
        if cotangent.shape != output.shape:
            raise ValueError(
                f"`{name}[{i}]` must have the shape of `{of}[{i}]`, {list(output.shape)}. "
                f"Got {list(cotangent.shape)}."
            )
    return cotangents


def as_chunk_size(value: Any) -> int | None:
    """Return ``parallel_chunk_size`` if it is None or a positive int.

    :raises TypeError: If it is neither None nor an int.
    :raises ValueError: If it is not positive.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"`parallel_chunk_size` must be None or an int. Got {value!r}, "
            f"a {type(value).__name__}."
        )
    if value < 1:
        raise ValueError(f"`parallel_chunk_size` must be at least 1, for row by row. Got {value}.")
    return value


def _check_differentiable(tensor: Tensor, where: str) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{where} must have a real floating dtype. Got {tensor.dtype}.")
    if not tensor.requires_grad:
        raise ValueError(
            f"{where} must require grad. Got a tensor that does not. Leave it out, or check for a "
            "frozen parameter, `.detach()` or `torch.no_grad()` on the way to it."
        )


def _check_count(
    cotangents: Sequence[Tensor], name: str, outputs: Sequence[Tensor], of: str
) -> None:
    if len(cotangents) != len(outputs):
        raise ValueError(
            f"`{name}` must have one tensor for each of `{of}`. "
            f"Got {len(cotangents)} for {len(outputs)}."
        )


def _check_like(cotangent: Tensor, name: str, output: Tensor, of: str) -> None:
    if cotangent.dtype != output.dtype:
        raise TypeError(
            f"`{name}` must have the dtype of `{of}`, {output.dtype}. Got {cotangent.dtype}."
        )
    if cotangent.device != output.device:
        raise ValueError(
            f"`{name}` must be on the device of `{of}`, {output.device}. Got {cotangent.device}."
        )
