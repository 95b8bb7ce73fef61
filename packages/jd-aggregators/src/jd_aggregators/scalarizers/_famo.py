"""FAMO: all objectives fall at the same relative rate, from their values alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from jd_aggregators._remembering import Remembering
from jd_aggregators._settings import Number
from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer

from ._settings import PerValue, Sized
from ._values import dot, doubled

_EPS = 1e-8
"""What is added to the values, and to Adam's root, as the authors do."""
_DECAYS = (0.9, 0.999)


class MinLosses(PerValue[Tensor | None]):
    """Lower bounds, of the shape that the scalarizer is made for."""

    def __set__(self, method: Any, value: Tensor | None) -> None:
        if isinstance(value, Tensor) and value.shape != method.shape:
            raise ValueError(
                f"`{self.name}` must have the `shape` of the values, {list(method.shape)}. "
                f"Got shape {list(value.shape)}."
            )
        super().__set__(method, value)


class FAMO(Sized, Remembering, Scalarizer):
    r"""Fast adaptive multitask optimization.

    .. math:: c \sum_i p_i \log(\ell_i - b_i + \epsilon), \qquad p = \operatorname{softmax}(w),
        \qquad c = \Bigl( \sum_i \frac{p_i}{\ell_i - b_i + \epsilon} \Bigr)^{-1}

    where :math:`c` and :math:`p` have no gradient, so that the update is a convex combination of
    those of the objectives, and :math:`\epsilon = 10^{-8}`. The logits :math:`w`, one per value,
    begin at 0. After the step of the model, give its new losses on the same batch to
    :meth:`update`: it takes a step of Adam on :math:`w`, along the vector-Jacobian product of the
    softmax with

    .. math:: \delta_i = \log(\ell_i^\text{before} - b_i + \epsilon)
        - \log(\ell_i^\text{after} - b_i + \epsilon)

    so that objectives which fell less than the others count more. Nothing has to be given to an
    optimizer. The logits, the state of Adam and the last losses are part of the ``state_dict``;
    they are float64, where the device has it.

    Source: Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1,
    with Adam and weight decay as in algorithm 2.

    .. note::
        Values must be above their lower bounds, which is not checked: others give NaN. An update
        for which a loss is not finite, before or after, changes nothing.

    :param shape: The shape of the values; an int is the length of a vector.
    :param min_losses: The lower bounds :math:`b`, in that shape. Default: zeros.
    :param lr: The learning rate of Adam, at least 0.
    :param weight_decay: The weight decay of Adam, at least 0.
    :raises TypeError: If a parameter has the wrong type.
    :raises ValueError: If a parameter is out of its bounds or ``min_losses`` has another shape;
        when called, if the values have another shape.

    >>> import torch
    >>> from torchjd.scalarization import FAMO
    >>> famo = FAMO(2)
    >>> famo(torch.tensor([2.0, 2.0]))
    tensor(1.3863)
    >>> famo.update(torch.tensor([1.0, 2.0]))  # the second one has not fallen: it will count more
    >>> losses = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> famo(losses).backward()
    >>> losses.grad
    tensor([0.6555, 0.3445])
    """

    traits = Traits(permutation=True, state="4 m", cost="m", on_device=True, compiles=True)
    remembers = ("_logits", "_moment", "_square", "_steps", "_before")
    min_losses = MinLosses("The lower bounds, in the shape of the values.", optional=True)
    lr = Number("The learning rate of Adam.", low=0.0)
    weight_decay = Number("The weight decay of Adam.", low=0.0)

    _before: Tensor | None
    """The logarithms of the values of the last call, above their bounds."""

    def __init__(
        self,
        shape: int | Sequence[int],
        min_losses: Tensor | None = None,
        lr: float = 0.025,
        weight_decay: float = 1e-3,
    ) -> None:
        super().__init__(shape)
        self.min_losses, self.lr, self.weight_decay = min_losses, lr, weight_decay

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the loss, of shape ``[]``, and remember the values for :meth:`update`."""
        self._require_shape(values)
        gaps = self._gaps(values)
        logs = gaps.log()
        p = self.recall("_logits", (gaps.numel(),), gaps).softmax(dim=0)
        loss = dot(p, logs) / dot(p, gaps.detach().reciprocal())
        # Not by attribute: `nn.Module` takes longer to assign a buffer than to compute it.
        self._buffers["_before"] = logs.detach()
        return loss.to(values.dtype)

    @torch.no_grad()
    def update(self, losses: Tensor, /) -> None:
        """Learn from what the step of the model has changed.

        :param losses: The values after the step, on the batch of the last call.
        :raises RuntimeError: If there was no call before.
        :raises TypeError: If ``losses`` is not a real floating-point tensor.
        :raises ValueError: If it has another shape than the values.
        """
        if not isinstance(losses, Tensor) or not losses.is_floating_point():
            found = losses.dtype if isinstance(losses, Tensor) else type(losses).__name__
            raise TypeError(f"`losses` must be a floating-point tensor. Got {found}.")
        self._require_shape(losses, "losses")
        if self._before is None:
            raise RuntimeError(
                "`update` must follow a call of FAMO with the losses before the step of the model. "
                "Got none since it was made or reset. Call it with them, then step, then update."
            )
        logs = self._gaps(losses).log()
        m = logs.shape
        delta = self.recall("_before", m, logs) - logs
        logits = self.recall("_logits", m, logs)
        p = logits.softmax(dim=0)
        gradient = p * (delta - torch.dot(p, delta)) + self.weight_decay * logits
        moment = torch.lerp(gradient, self.recall("_moment", m, logs), _DECAYS[0])
        square = torch.lerp(gradient * gradient, self.recall("_square", m, logs), _DECAYS[1])
        steps = self.recall("_steps", (), logs) + 1
        root = (square / (1 - _DECAYS[1] ** steps)).sqrt() + _EPS
        logits = logits - self.lr * moment / (1 - _DECAYS[0] ** steps) / root
        # Not finite before or after makes it so: then nothing has been learned.
        sound = torch.isfinite(delta).all()
        self.remember(sound, _logits=logits, _moment=moment, _square=square, _steps=steps)

    def _gaps(self, values: Tensor) -> Tensor:
        """Return how far the values are above their bounds, of shape ``[m]``."""
        x = doubled(values)
        if (bounds := self.min_losses) is not None:
            x = x - bounds.to(x.device, x.dtype, non_blocking=True)
        return x.flatten() + _EPS
