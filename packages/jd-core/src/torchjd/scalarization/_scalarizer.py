"""Scalarizers: from the values of the objectives to one loss."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from torchjd.aggregation import Traits


class Scalarizer(nn.Module, ABC):
    r"""Combine a tensor of objectives, of any shape, into one loss to call ``backward`` on.

    Cheaper than an aggregator, since one ordinary backward pass follows; it sees no gradients, and
    so no conflicts among them.

    :cvar traits: What the method guarantees and costs.

    >>> import torch
    >>> from torchjd.scalarization import Scalarizer
    >>> class Largest(Scalarizer):
    ...     def forward(self, values, /):
    ...         return values.max()
    >>> Largest()(torch.tensor([1.0, 3.0, 2.0]))
    tensor(3.)
    """

    traits: ClassVar[Traits] = Traits()

    @abstractmethod
    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``; ``values`` has been checked."""

    def __call__(self, values: Tensor, /) -> Tensor:
        """Check ``values``, then combine them, through the module's hooks.

        :param values: The values of the objectives, of any shape.
        :returns: The loss, of shape ``[]``, differentiable with respect to ``values``.
        :raises TypeError: If ``values`` is not a real floating-point tensor.
        :raises ValueError: If it has no element, or the method returns no scalar.
        """
        if not isinstance(values, Tensor):
            raise TypeError(
                f"`values` must be a torch.Tensor. Got {type(values).__name__}. "
                "Stack the losses, with `torch.stack(losses)`."
            )
        if not values.is_floating_point():
            raise TypeError(f"`values` must have a real floating dtype. Got {values.dtype}.")
        if values.numel() == 0:
            raise ValueError(
                f"`values` must have at least one element. Got shape {list(values.shape)}. "
                "Skip the step when there is no objective."
            )
        result: Any = super().__call__(values)
        if not isinstance(result, Tensor) or result.ndim != 0:
            found = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"`{type(self).__name__}` must return a scalar. Got {found}.")
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
