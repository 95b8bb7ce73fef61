"""From a ``.jac`` that is scaled to a ``.grad`` that is, by way of a Jacobian that is not."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.amp import GradScaler

from torchjd import autojac
from torchjd.aggregation import Aggregator

from ._finite import all_finite, is_on_host, moved, where_to_decide
from ._jacobian_scaler import JacobianScaler
from ._rows import listed, tensors_of
from ._scale import check_scaler, scale_on
from ._scaled_grads import ScaledGrads, fill_with_nan
from ._unscaled_jacobians import jacobian_of, unscaled


def jac_to_grad(
    params: Tensor | Iterable[Tensor],
    /,
    aggregator: Aggregator,
    *,
    scaler: GradScaler | None,
    retain_jac: bool = False,
    losses: Tensor | Sequence[Tensor] | None = None,
    cross_gramian: Tensor | None = None,
) -> Tensor | None:
    r"""Aggregate the Jacobian in the ``.jac`` of ``params`` into their ``.grad``, both scaled.

    With :math:`S` the scale, the ``.jac`` hold :math:`S J`. The aggregator sees the true
    :math:`J`, since most methods depend on its length, and what is added to ``.grad`` is
    :math:`S \mathcal{A}(J)`: what ``scaler.unscale_`` and ``scaler.step`` expect. Where J, or a
    loss that the aggregator reads, is not finite, ``.grad`` becomes NaN all over, so that the step
    is skipped whatever the aggregator makes of infinities, and one that remembers does not remember
    them: on the CPU it is not called. On other devices nothing is read on the host; it is called on
    a Jacobian of NaN, and its result is masked.

    A :class:`JacobianScaler` leaves ``.jac`` unscaled, and without a scaler it always is: then
    :math:`S = 1`.

    :param params: Tensors with a ``.jac`` of the same number of rows.
    :param aggregator: How to combine the rows.
    :param scaler: What the losses were scaled by before ``torchjd.autojac.backward`` or
        ``mtl_backward``; or the :class:`JacobianScaler` whose method that was; or None for losses
        that were not scaled, as with bfloat16, along with :func:`skip_nonfinite_steps`.
    :param retain_jac: Whether to keep ``.jac``, scaled as it was. On devices other than the CPU,
        one that is not finite becomes NaN all over.
    :param losses: The values of the objectives, for aggregators that need them: the true ones, not
        what ``scaler.scale`` makes of them.
    :param cross_gramian: The Gramian across two batches, for aggregators that need it; of Jacobians
        that are not scaled.
    :returns: The weights, of shape ``[m]``, if the aggregator has them: NaN where ``.grad`` is;
        on the CPU, None there.
    :raises TypeError: If ``scaler`` is none; if a ``.jac`` is of float16 with a stock scaler; or as
        for :func:`torchjd.autojac.jac_to_grad`.
    :raises ValueError: As for :func:`torchjd.autojac.jac_to_grad`.
    :raises RuntimeError: As for :func:`torchjd.autojac.jac_to_grad`; or if a stock ``scaler`` has
        not scaled anything. Whatever is raised, ``.grad`` is as before, and so is ``.jac``, up to
        the rounding of a scale that is no power of two.

    >>> import torch, jd_amp
    >>> from torchjd.aggregation import UPGrad
    >>> from torchjd.autojac import backward
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    >>> backward(scaler.scale([x.sum(), x.prod()]))
    >>> jd_amp.jac_to_grad([x], UPGrad(), scaler=scaler)
    tensor([0.5000, 0.5000])
    >>> x.grad
    tensor([1536., 1024.])
    """
    check_scaler(scaler, optional=True)
    given, losses = listed(params), listed(losses)
    targets = _usable(given)
    if targets is None or not isinstance(aggregator, Aggregator):
        # Something is wrong with the arguments, and this says what.
        return autojac.jac_to_grad(
            given, aggregator, losses=losses, cross_gramian=cross_gramian, retain_jac=retain_jac
        )
    device = where_to_decide(targets)
    scales = {p.device: scale_on(scaler, p.device) for p in targets}
    if scales[device] is not None:
        _refuse_float16(targets)
    read = tensors_of(losses) if aggregator.needs_losses else []
    finite = _is_finite(targets, read, scales[device], scaler, device)
    mask = None if is_on_host(targets) else finite
    if mask is None and not finite:
        fill_with_nan(targets)
        weights = None
    else:
        grads = ScaledGrads(targets)
        with unscaled(targets, scales, mask, keep=retain_jac), grads.set_aside():
            weights = autojac.jac_to_grad(
                targets, aggregator, losses=losses, cross_gramian=cross_gramian, retain_jac=True
            )
            grads.add(scales, mask)
    if not retain_jac:
        for param in targets:
            del param.jac  # type: ignore[attr-defined]
    if weights is None or mask is None:
        return weights
    return torch.where(moved(mask, weights.device), weights, torch.nan)


def _usable(params: object) -> list[Tensor] | None:
    """Return ``params`` as a list, if they are different tensors with a ``.jac``; else None."""
    several = tensors_of(params)
    complete = all(isinstance(getattr(param, "jac", None), Tensor) for param in several)
    different = len({id(param) for param in several}) == len(several)
    return several if several and complete and different else None


def _refuse_float16(params: Sequence[Tensor]) -> None:
    for i, param in enumerate(params):
        if param.dtype == torch.float16:
            raise TypeError(
                "`params` must not be of float16: their `.jac` would underflow once it is no "
                f"longer scaled. Got params[{i}], of shape {list(param.shape)}. Keep parameters in "
                "float32, under `torch.autocast`."
            )


def _is_finite(
    params: Sequence[Tensor],
    losses: Sequence[Tensor],
    scale: Tensor | None,
    scaler: GradScaler | None,
    device: torch.device,
) -> Tensor:
    """Return whether what the aggregator reads is finite, and nothing else has to be skipped."""
    flags = [all_finite([*(jacobian_of(param) for param in params), *losses], device)]
    if scale is not None:
        # One that has gone out of range leaves nothing that is finite.
        flags.append(torch.isfinite(scale) & torch.isfinite(scale.reciprocal()))
    overflowed = scaler.overflowed() if isinstance(scaler, JacobianScaler) else None
    if overflowed is not None:  # in a head alone, perhaps: the step is skipped all the same
        flags.append(~moved(overflowed.any(), device))
    return torch.stack(flags).all()
