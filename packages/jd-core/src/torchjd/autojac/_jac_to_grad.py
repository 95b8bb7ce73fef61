"""From ``.jac`` to ``.grad``."""

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from torch import Tensor

from torchjd._autograd._gradients import add_to_grads
from torchjd.aggregation import Aggregator, GramianWeightedAggregator, Weighting
from torchjd.aggregation._inputs import Losses, require_inputs
from torchjd.distributed._local import require_single_process
from torchjd.linalg._autocast import own_precision

from ._accumulation import stored_jacobian
from ._arguments import as_inputs


def jac_to_grad(
    tensors: Tensor | Iterable[Tensor],
    /,
    aggregator: Aggregator,
    *,
    retain_jac: bool = False,
    optimize_gramian_computation: bool | None = None,
    losses: Losses | None = None,
    cross_gramian: Tensor | None = None,
) -> Tensor | None:
    r"""Aggregate the Jacobian in the ``.jac`` of ``tensors`` into their ``.grad``.

    With :math:`J_p` the ``.jac`` of parameter :math:`p`, flattened to ``[m, n_p]``, and
    :math:`\mathcal{A}` the aggregator, the parts of
    :math:`\mathcal{A}([J_1 \dots J_k]) \in \mathbb{R}^n` are added to the ``.grad`` of each. The
    ``.jac`` is dropped, once the aggregation succeeded.

    :param tensors: Tensors with a ``.jac`` of the same number of rows.
    :param aggregator: How to combine the rows.
    :param retain_jac: Whether to keep ``.jac``.
    :param optimize_gramian_computation: Whether the aggregator gets by without the whole Jacobian
        in one tensor. Default: where it can. False calls it on the whole, as a forward hook on it
        also does.
    :param losses: The values of the objectives, one element a row, for aggregators that need them.
    :param cross_gramian: The Gramian across two batches, of shape ``[m, m]``, for aggregators that
        need it: see :func:`torchjd.linalg.cross_gramian`.
    :returns: The weights, of shape ``[m]`` and at least float32, if the aggregator has them.
    :raises TypeError: If ``tensors`` is no tensor or iterable of tensors, or ``aggregator`` none;
        or if an input is missing that the aggregator needs.
    :raises ValueError: If a tensor has no ``.jac``, or one that does not fit the others; or if
        ``optimize_gramian_computation`` is True and the aggregator does not work from the Gramian;
        or if ``losses`` or ``cross_gramian`` do not fit the number of rows.
    :raises RuntimeError: If a process group of several ranks is initialised, outside
        :func:`torchjd.distributed.local`.

    >>> import torch
    >>> from torchjd.aggregation import UPGrad
    >>> from torchjd.autojac import backward, jac_to_grad
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> backward([x.sum(), x.prod()])
    >>> jac_to_grad([x], UPGrad())
    tensor([0.5000, 0.5000])
    >>> x.grad
    tensor([1.5000, 1.0000])
    """
    require_single_process("torchjd.autojac.jac_to_grad")
    check_aggregator(aggregator)
    require_inputs(aggregator, losses=losses is not None, cross_gramian=cross_gramian is not None)
    if optimize_gramian_computation and not _gets_by_with_gramian(aggregator):
        raise ValueError(
            "`optimize_gramian_computation=True` needs an aggregator that works from the Gramian. "
            f"Got {aggregator!r}. Leave it out: it is done wherever it can be."
        )
    targets = as_inputs(tensors, "tensors")
    jacobians = _jacobians(targets)
    whole = optimize_gramian_computation is False
    inputs: Inputs = {"losses": losses, "cross_gramian": cross_gramian}
    parts, weights = aggregate(jacobians, aggregator, inputs, whole=whole)
    add_to_grads(targets, parts)()
    if not retain_jac:
        for tensor in targets:
            del tensor.jac  # type: ignore[attr-defined]
    return weights


class Inputs(TypedDict):
    """What an aggregator may need beside the Jacobian; :class:`Aggregator` explains."""

    losses: Losses | None
    cross_gramian: Tensor | None


def aggregate(
    jacobians: Sequence[Tensor], aggregator: Aggregator, inputs: Inputs, *, whole: bool = False
) -> tuple[list[Tensor], Tensor | None]:
    """Aggregate Jacobians; return the part of each, in storage of its own, and the weights if any.

    :param jacobians: For each tensor, its Jacobian, of shape ``[m, *tensor.shape]``.
    :param aggregator: How to combine the rows.
    :param inputs: What the aggregator may need beside them.
    :param whole: Whether the aggregator is called on the whole Jacobian in any case.
    """
    blocks = [j.detach().reshape(j.shape[0], j.shape[1:].numel()) for j in jacobians]
    aggregate_them = aggregator.aggregate_whole if whole else aggregator.aggregate_blocks
    # Only what there is: an aggregator of one's own need not know of inputs that it has no use for.
    given: dict[str, Any] = {name: value for name, value in inputs.items() if value is not None}
    with own_precision(blocks[0].device):
        parts, weights = aggregate_them(blocks, **given)
    return [p.view(j.shape[1:]) for p, j in zip(parts, jacobians, strict=True)], weights


def check_aggregator(aggregator: object) -> None:
    """Refuse what cannot aggregate.

    :raises TypeError: If ``aggregator`` is not an :class:`~torchjd.aggregation.Aggregator`.
    """
    if isinstance(aggregator, Aggregator):
        return
    found = f"the class {aggregator.__name__}" if isinstance(aggregator, type) else repr(aggregator)
    remedy = "Pass an instance, for instance `UPGrad()`."
    if isinstance(aggregator, Weighting):
        remedy = "Pass the aggregator of that method, or `WeightedAggregator(weighting)`."
    raise TypeError(f"`aggregator` must be an Aggregator. Got {found}. {remedy}")


def _gets_by_with_gramian(aggregator: Aggregator) -> bool:
    # One that reads it in some calls only needs less in the others.
    return isinstance(aggregator, GramianWeightedAggregator) or aggregator.needs == "gramian"


def _jacobians(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the ``.jac`` of each tensor."""
    jacobians: list[Tensor] = []
    missing = [i for i, tensor in enumerate(tensors) if stored_jacobian(tensor) is None]
    if missing:
        shapes = ", ".join(f"tensors[{i}] of shape {list(tensors[i].shape)}" for i in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(
            f"`tensors` must each have a `.jac`. Got none on {shapes}{more}. Call "
            "`torchjd.autojac.backward` or `mtl_backward` first, and leave out the parameters of "
            "the heads: `mtl_backward` gave them a `.grad`."
        )
    for i, tensor in enumerate(tensors):
        jacobian = stored_jacobian(tensor)
        if not isinstance(jacobian, Tensor):
            raise TypeError(f"`tensors[{i}].jac` must be a tensor. Got {type(jacobian).__name__}.")
        m = jacobians[0].shape[0] if jacobians else jacobian.shape[:1].numel()
        if jacobian.ndim == 0 or jacobian.shape != (m, *tensor.shape) or m == 0:
            raise ValueError(
                f"`tensors[{i}].jac` must have shape {[m, *tensor.shape]}, with as many rows as "
                f"the others. Got {list(jacobian.shape)}."
            )
        if jacobian.dtype != tensor.dtype or jacobian.device != tensor.device:
            raise ValueError(
                f"`tensors[{i}].jac` must be of {tensor.dtype} on {tensor.device}, as its tensor. "
                f"Got {jacobian.dtype} on {jacobian.device}."
            )
        jacobians.append(jacobian)
    return jacobians
