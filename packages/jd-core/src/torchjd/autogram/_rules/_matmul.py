"""Matrix products, of which either factor may be the parameter."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torchjd.autogram._layout import Layout
from torchjd.autogram._uses._outer import OuterProducts
from torchjd.autogram._uses._rows import Rows
from torchjd.autogram._uses._stacked import Stacked
from torchjd.autogram._uses._use import Use

from ._broadcast import summed
from ._call import Call


def mm(call: Call) -> Mapping[int, Use] | None:
    """Return the uses of the factors of ``self @ mat2``."""
    return _product(call, ("self", "mat2"), first=0)


def addmm(call: Call) -> Mapping[int, Use] | None:
    """Return the uses in ``beta * self + alpha * mat1 @ mat2``."""
    return _with_bias(call, _product(call, ("mat1", "mat2"), first=1, alpha=call.saved("alpha")))


def bmm(call: Call) -> Mapping[int, Use] | None:
    """Return the uses of the factors of a batch of products."""
    return _product(call, ("self", "mat2"), first=0)


def baddbmm(call: Call) -> Mapping[int, Use] | None:
    """Return the uses in ``beta * self + alpha * batch1 @ batch2``."""
    alpha = call.saved("alpha")
    return _with_bias(call, _product(call, ("batch1", "batch2"), first=1, alpha=alpha))


def mv(call: Call) -> Mapping[int, Use] | None:
    """Return the uses of the factors of ``self @ vec``."""
    return _matrix_by_vector(call, ("self", "vec"), first=0)


def addmv(call: Call) -> Mapping[int, Use] | None:
    """Return the uses in ``beta * self + alpha * mat @ vec``."""
    alpha = call.saved("alpha")
    return _with_bias(call, _matrix_by_vector(call, ("mat", "vec"), first=1, alpha=alpha))


def linear(call: Call) -> Mapping[int, Use] | None:
    """Return the uses in ``input @ weight.T + bias``, where a backend has that in one node."""
    uses: dict[int, Use] = {}
    B = call.cotangent()
    layout = call.layout
    if layout is None or 0 in call.wanted or (layout.dim == B.ndim - 2 and call.batch > 1):
        return None
    if 1 in call.wanted:
        # All dimensions but the last are rows, with one sample in whatever dimension it is.
        layout = Layout(0) if call.batch == 1 else layout
        A = layout.front(_dense(call, "input"), call.batch)
        B = layout.front(B, call.batch, lead=1)
        A, B = _tokens(A, 1), _tokens(B, 2)
        uses[1] = OuterProducts(A, B)
    if 2 in call.wanted:
        bias = summed(call, call.wanted[2], call.cotangent())
        if bias is None:
            return None
        uses[2] = bias
    return uses


def _with_bias(call: Call, uses: dict[int, Use] | None) -> Mapping[int, Use] | None:
    """Add the use of the first input, which was scaled by beta and broadcast to the output."""
    if uses is None or 0 not in call.wanted:
        return uses
    weight = uses.get(2)
    plain = call.saved("alpha") == call.saved("beta") == 1
    if plain and isinstance(weight, OuterProducts) and call.wanted[0] == weight.shape[1:]:
        return {0: weight.of_bias(), **uses}
    bias = summed(call, call.wanted[0], _scaled(call.cotangent(), call.saved("beta")))
    return None if bias is None else {0: bias, **uses}


def _product(
    call: Call, names: tuple[str, str], first: int, alpha: Any = 1
) -> dict[int, Use] | None:
    """Return the uses of the factors of a product; ``first`` is the number of the left one."""
    uses: dict[int, Use] = {}
    for index in (first, first + 1):
        if index in call.wanted:
            side = index - first
            apart = _by_sample(call, side, names[1 - side], alpha)
            if apart is None:
                return None
            uses[index] = _of_factor(*apart, transposed=side == 1)
    return uses


def _of_factor(A: Tensor, B: Tensor, transposed: bool) -> Use:
    """Return the use of a matrix, or of a batch of matrices."""
    if A.ndim == 3:
        return OuterProducts(A, B, transposed)
    pairs = zip(A.unbind(1), B.unbind(2), strict=True)
    stacked = Stacked([OuterProducts(*pair, transposed) for pair in pairs])
    return stacked.as_rows() if stacked.is_larger_than_rows() else stacked


def _by_sample(call: Call, side: int, name: str, alpha: Any) -> tuple[Tensor, Tensor] | None:
    """Return what the wanted factor was multiplied by, and the cotangents, with samples in front.

    :param side: Whether the wanted factor is the left one, 0, or the right one, 1.
    :param name: What the node saved the other factor as.
    :returns: Tensors of shapes ``[batch, *h, t, d]`` and ``[tasks, batch, *h, t, p]``, in which
        ``t`` runs over the rows of a sample; or None if the wanted factor holds the samples.
    """
    B = _scaled(call.cotangent(), alpha)
    rows, columns = B.ndim - 3, B.ndim - 2
    needed = rows if side else columns
    layout = Layout(needed) if call.batch == 1 else call.layout
    if call.layout is None or layout is None or layout.dim != needed:
        return None
    A = _dense(call, name)
    if side == 0:
        A, B, layout = A.mT, B.mT, Layout(rows, layout.inner)
    alone = A.shape[-2] == call.batch
    A, B = layout.front(A, call.batch), layout.front(B, call.batch, lead=1)
    return (A.unsqueeze(-2), B.unsqueeze(-2)) if alone else (A, B)


def _matrix_by_vector(
    call: Call, names: tuple[str, str], first: int, alpha: Any = 1
) -> dict[int, Use] | None:
    """Return the uses of a matrix and of the vector that it is multiplied by."""
    uses: dict[int, Use] = {}
    if call.layout is None:
        return None
    B = _scaled(call.per_sample(), alpha)
    B = B.reshape(call.tasks, call.batch, -1)
    if first + 1 in call.wanted:
        A = call.layout.front(_dense(call, names[0]), call.batch)
        A = _tokens(A, 1)
        uses[first + 1] = Rows(torch.einsum("kbt,btd->kbd", B, A))
    if first in call.wanted:
        # The rows of the matrix would be those of the samples.
        if call.batch > 1:
            return None
        uses[first] = Rows(B.unsqueeze(3) * _dense(call, names[1]))
    return uses


def _tokens(tensor: Tensor, lead: int) -> Tensor:
    """Merge all dimensions but ``lead`` leading ones and the last into one."""
    return tensor.reshape(*tensor.shape[:lead], -1, tensor.shape[-1])


def _dense(call: Call, name: str) -> Tensor:
    tensor: Tensor = call.saved(name)
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.to(call.dtype)


def _scaled(B: Tensor, factor: Any) -> Tensor:
    return B if factor == 1 else B * factor
