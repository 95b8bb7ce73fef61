"""How many objectives there are in what a user passes, before it has been checked."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor


def listed(tensors: Any) -> Any:
    """Return what can be looked through twice: a list of what is several; anything else as it is.

    What is wrong with it, if something is, is for others to say.
    """
    is_one = isinstance(tensors, Tensor | str | bytes | dict) or not isinstance(tensors, Iterable)
    return tensors if is_one else list(tensors)


def number_of_rows(tensors: Any, jac_tensors: Any) -> int:
    """Return how many rows the Jacobian of ``tensors`` has; 0 if these are not made of tensors.

    It has one for each element, or as many as the cotangents ``jac_tensors``.
    """
    if jac_tensors is None:
        return sum(tensor.numel() for tensor in tensors_of(tensors))
    cotangents = [cotangent for cotangent in tensors_of(jac_tensors) if cotangent.ndim]
    return cotangents[0].shape[0] if cotangents else 0


def tensors_of(value: Any) -> list[Tensor]:
    """Return the tensors of what :func:`listed` returned; none if there is something else."""
    several = value if isinstance(value, list) else [value]
    return several if all(isinstance(one, Tensor) for one in several) else []
