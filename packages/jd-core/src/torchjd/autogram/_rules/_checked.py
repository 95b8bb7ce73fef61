"""What the rule of a plugin returned, checked before it counts."""

from collections.abc import Mapping

from torchjd.autogram._uses._outer import OuterProducts
from torchjd.autogram._uses._use import Use

from ._call import Call


def checked(call: Call, uses: object, kind: str) -> Mapping[int, Use]:
    """Return ``uses`` if they can be the answer to ``call``: their sizes and dtypes are right.

    Without this, an input that was left out would be missing from the Gramian, and nobody told.

    :param call: What the rule was given.
    :param uses: What it returned.
    :param kind: The name of the kind of node that it serves.
    :raises TypeError: If ``uses`` is not a mapping to uses.
    :raises ValueError: If an input is missing or was not asked for, or if a use is of another size
        or dtype than it must be.
    """
    if not isinstance(uses, Mapping):
        raise TypeError(
            f"The rule of `{kind}` must return a mapping from inputs to their uses, or None. "
            f"Got {type(uses).__name__}."
        )
    if uses.keys() != call.wanted.keys():
        raise ValueError(
            f"The rule of `{kind}` must return a use for each input in `call.wanted`, which are "
            f"{_listed(call.wanted)}, and for no other. Got {_listed(uses)}. Where it serves only "
            "some of them, return None: all are then served by the backward of the node."
        )
    for number, use in uses.items():
        if not isinstance(use, Use):
            raise TypeError(
                f"The rule of `{kind}` must give a `Use` for input {number}, such as "
                f"`OuterProducts` or `Rows`. Got {type(use).__name__}."
            )
        _check_sizes(call, number, use, kind)
        _check_dtype(call, number, use, kind)
    return uses


def _check_sizes(call: Call, number: int, use: Use, kind: str) -> None:
    shape = call.wanted[number]
    if (use.tasks, use.batch, use.shape) != (call.tasks, call.batch, shape):
        raise ValueError(
            f"The rule of `{kind}` must give, for input {number}, a use of {call.tasks} tasks, "
            f"{call.batch} samples and shape {list(shape)}. Got {use.tasks} tasks, {use.batch} "
            f"samples and shape {list(use.shape)}. Put tasks and samples in front, in that order."
        )
    if isinstance(use, OuterProducts):
        A, B = use.tensors()
        # With samples and terms swapped, A has as many elements: it would be read wrongly.
        if A.shape[:2] != B.shape[1:3]:
            raise ValueError(
                f"The rule of `{kind}` must give, for input {number}, `inputs` of shape "
                f"[batch, t, d] to cotangents of shape [tasks, batch, t, p] = {list(B.shape)}. "
                f"Got {list(A.shape)}."
            )


def _check_dtype(call: Call, number: int, use: Use, kind: str) -> None:
    for tensor in use.tensors():
        # Integers are positions: they are not computed with.
        if tensor.dtype != call.dtype and tensor.is_floating_point():
            raise ValueError(
                f"The rule of `{kind}` must compute in `call.dtype`, {call.dtype}. Got "
                f"{tensor.dtype} for input {number}. Convert what the node saved, with "
                "`.to(call.dtype)`."
            )


def _listed(numbers: Mapping[int, object]) -> str:
    return ", ".join(map(repr, numbers)) or "none"
