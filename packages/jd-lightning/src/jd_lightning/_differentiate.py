"""From objectives to ``.jac`` or ``.grad``, in whatever precision the trainer runs."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.amp import GradScaler

from jd_amp import JacobianScaler, UnscaledWeighting
from torchjd.aggregation import Weighting
from torchjd.autogram import Engine
from torchjd.autojac import mtl_backward

from ._objectives import Objectives


def differentiate(
    objectives: Objectives, factor: Tensor, scaler: GradScaler | None, *, retain_graph: bool
) -> None:
    r"""Add :math:`c \, \partial \ell_i / \partial \theta` to row i of ``.jac``; heads to ``.grad``.

    :param factor: :math:`c`, a scalar: the precision's scale, and the user's weight.
    :param scaler: Of the precision plugin.
    """
    backward = scaler.mtl_backward if isinstance(scaler, JacobianScaler) else mtl_backward
    cotangents = [factor.to(loss).expand_as(loss) for loss in objectives.losses]
    backward(
        objectives.losses, objectives.features, grad_tensors=cotangents, retain_graph=retain_graph
    )


class _Averaged:
    """A weighting whose weights are divided by the number of micro-batches."""

    def __init__(self, weighting: Weighting[Any], count: int) -> None:
        self._weighting = weighting
        self._count = count
        self.needs = weighting.needs
        self.needs_losses = weighting.needs_losses

    def __call__(self, stat: Tensor, **losses: Tensor) -> Tensor:
        return self._weighting(stat, **losses) / self._count


def descend_samples(
    parameters: Sequence[Tensor],
    objectives: Objectives,
    factor: Tensor,
    weighting: Weighting[Any],
    scaler: GradScaler | None,
    *,
    micro_batches: int,
    retain_graph: bool,
) -> None:
    """Add the weighted gradient of the losses of samples to ``.grad``.

    :param parameters: What the Gramian is of.
    :param factor: By which Lightning and the user scaled each loss.
    :param weighting: From the Gramian of the losses, times the user's weight, to weights.
    :param scaler: Of the precision plugin.
    :param micro_batches: Over how many micro-batches Lightning averages.
    :raises TypeError: If the scaler keeps a scale an objective.
    """
    if isinstance(scaler, JacobianScaler):
        raise TypeError(
            "`scaler` of the precision plugin must be a `torch.amp.GradScaler` where `objectives` "
            "is given the losses of samples. Got a JacobianScaler, which keeps a scale for each "
            'of a fixed set of objectives. Leave it out: `Trainer(precision="16-mixed")`.'
        )
    (losses,) = objectives.losses
    # Each micro-batch has samples, and so a Gramian, of its own: the average is of what comes out,
    # and the weighting does not see what Lightning divided by.
    scaled = losses * (factor * micro_batches).to(losses)
    # A scaler that is off scales nothing, and still keeps what is not finite from the weighting.
    unscaled = UnscaledWeighting(weighting, scaler or GradScaler(losses.device.type, enabled=False))
    averaged = unscaled if micro_batches == 1 else _Averaged(unscaled, micro_batches)
    module = nn.ParameterList([p for p in parameters if isinstance(p, nn.Parameter)])
    Engine(module, batch_dim=0).backward(scaled, averaged, retain_graph=retain_graph)
