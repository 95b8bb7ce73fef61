"""The parameters that are trained, and what is stored on them."""

from collections.abc import Iterable
from itertools import chain

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
