"""The parameters that are trained, and what is stored on them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def trained(optimizers: Iterable[Optimizer]) -> list[Tensor]:
    """Return the parameters that the optimizers step, each once."""
    groups = chain.from_iterable(optimizer.param_groups for optimizer in optimizers)
    parameters = chain.from_iterable(group["params"] for group in groups)
    return list({id(parameter): parameter for parameter in parameters}.values())


def with_jacobian(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the parameters that hold a ``.jac``."""
    return [p for p in parameters if getattr(p, "jac", None) is not None]


def drop_jacobians(parameters: Iterable[Tensor]) -> None:
    """Forget every ``.jac``."""
    for parameter in parameters:
        if hasattr(parameter, "jac"):
            del parameter.jac


def drop_nonfinite(groups: Iterable[Mapping[str, Any]]) -> bool:
    """Forget every ``.grad`` if one is not finite, which makes the step none; return whether.

    :param groups: Those of an optimizer.
    """
    parameters = [p for group in groups for p in group["params"]]
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads or _all_finite(grads):
        return False
    for parameter in parameters:
        parameter.grad = None
    return True


def _all_finite(grads: Sequence[Tensor]) -> bool:
    stored = [g.coalesce().values() if g.is_sparse else g for g in grads]
    # One number for all of them: the host waits for the device once.
    return bool(torch.stack([torch.isfinite(g).all() for g in stored]).all())
