"""Generalized Gramians as matrices, and weights back in the shape of the objectives."""

from math import prod

from torch import Tensor

from ._checks import as_generalized_gramian
from ._types import Matrix, PSDMatrix


def flatten_gramian(gramian: Tensor, /) -> PSDMatrix:
    r"""Reshape a generalized Gramian to the Gramian of the flattened objectives.

    With :math:`\mathcal{L}` of shape ``[d1, ..., dk]``, the generalized Gramian holds
    :math:`\langle \nabla \mathcal{L}_{i_1 \dots i_k}, \nabla \mathcal{L}_{j_1 \dots j_k} \rangle`
    at index ``[i1, ..., ik, jk, ..., j1]``: its second half runs backwards, as in
    :math:`J J^\top`. The result orders the objectives as ``losses.flatten()`` does.

    :param gramian: A tensor of shape ``[d1, ..., dk, dk, ..., d1]``.
    :returns: A tensor of shape ``[m, m]``, with ``m = d1 * ... * dk``, of the same dtype.
    :raises TypeError: If ``gramian`` is not a real floating-point tensor.
    :raises ValueError: If its shape does not read the same in both directions, or is empty.

    >>> import torch
    >>> from torchjd.linalg import flatten_gramian
    >>> flatten_gramian(torch.zeros(16, 2, 2, 16)).shape
    torch.Size([32, 32])
    """
    tensor = as_generalized_gramian(gramian, "gramian")
    k = tensor.ndim // 2
    m = prod(tensor.shape[:k])
    order = [*range(k), *reversed(range(k, 2 * k))]
    return PSDMatrix(Matrix(tensor.permute(order).reshape(m, m)))
