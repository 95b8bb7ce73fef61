"""Checks of what users hand to aggregators, weightings and projectors."""

from typing import cast

from torch import Tensor

from ._types import Matrix, PSDMatrix


def as_matrix(value: object, name: str) -> Matrix:
    """Return ``value`` as a :data:`Matrix`.

    :param value: What the user passed.
    :param name: The user's own name for it.
    :raises TypeError: If it is no tensor, or not of a real floating dtype.
    :raises ValueError: If its shape is not ``[m, n]`` with ``m >= 1``.
    """
    tensor = _as_floating(value, name)
    if tensor.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape [m, n]: one row per objective. "
            f"Got shape {list(tensor.shape)}. Flatten what follows the first dimension."
        )
    if tensor.shape[0] == 0:
        raise ValueError(
            f"`{name}` must have at least one row. Got shape {list(tensor.shape)}. "
            "Skip the step when there is no objective."
        )
    return cast("Matrix", tensor)  # calling a NewType is beyond torch.compile


def as_gramian(value: object, name: str) -> PSDMatrix:
    """Return ``value`` as a :data:`PSDMatrix`, of which the shape alone is checked.

    :param value: What the user passed.
    :param name: The user's own name for it.
    :raises TypeError: If it is no tensor, or not of a real floating dtype.
    :raises ValueError: If its shape is not ``[m, m]`` with ``m >= 1``.
    """
    matrix = as_matrix(value, name)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"`{name}` must be a Gramian, of shape [m, m]. Got shape {list(matrix.shape)}. "
            "From a Jacobian `J`, pass `J @ J.T`."
        )
    return cast("PSDMatrix", matrix)


def as_square(value: object, name: str) -> Tensor:
    """Return ``value`` if it is a square matrix, symmetric or not.

    :param value: What the user passed.
    :param name: The user's own name for it.
    :raises TypeError: If it is no tensor, or not of a real floating dtype.
    :raises ValueError: If its shape is not ``[m, m]`` with ``m >= 1``.
    """
    matrix = as_matrix(value, name)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"`{name}` must have shape [m, m]. Got shape {list(matrix.shape)}.")
    return matrix


def as_generalized_gramian(value: object, name: str) -> Tensor:
    """Return ``value`` as a generalized Gramian.

    :param value: What the user passed.
    :param name: The user's own name for it.
    :raises TypeError: If it is no tensor, or not of a real floating dtype.
    :raises ValueError: If its shape is not ``[d1, ..., dk, dk, ..., d1]``, or is empty.
    """
    tensor = _as_floating(value, name)
    shape = list(tensor.shape)
    if len(shape) % 2 or shape != shape[::-1]:
        raise ValueError(
            f"`{name}` must be a generalized Gramian, of shape [d1, ..., dk, dk, ..., d1]. "
            f"Got shape {shape}."
        )
    if tensor.numel() == 0:
        raise ValueError(f"`{name}` must have at least one element. Got shape {shape}.")
    return tensor


def _as_floating(value: object, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"`{name}` must be a torch.Tensor. Got {type(value).__name__}.")
    if not value.is_floating_point():
        raise TypeError(
            f"`{name}` must have a real floating dtype. Got {value.dtype}. "
            "Convert it, for instance with `.float()`."
        )
    return value
