"""Slow and simple references in float64, which share no code with what they judge."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor


def dense_jacobian(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the Jacobian by ``torch.func.jacrev``, row by row, in float64.

    :param function: From the inputs to one tensor of objectives, free of side effects.
    :param inputs: Where to differentiate.
    :returns: For each input, a tensor of shape ``[m, *input.shape]``, with m the number of elements
        of the output.

    >>> import torch
    >>> from torchjd.testing import dense_jacobian
    >>> dense_jacobian(lambda x: torch.stack([x.sum(), x.prod()]), [torch.tensor([1.0, 2.0])])
    [tensor([[1., 1.],
            [2., 1.]], dtype=torch.float64)]
    """
    wide = [tensor.detach().to(torch.float64) for tensor in inputs]
    positions = tuple(range(len(wide)))
    jacobians = torch.func.jacrev(lambda *x: function(*x).flatten(), positions, chunk_size=1)(*wide)
    return list(jacobians)


def numerical_jacobian(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], step: float = 1e-6
) -> list[Tensor]:
    """Return the Jacobian by central differences in float64: right to about 1e-8.

    For functions that ``torch.func`` cannot trace. Random functions must seed themselves.

    :param function: From the inputs to one tensor of objectives.
    :param inputs: Where to differentiate.
    :param step: By how much each entry is moved to either side.
    :returns: For each input, a tensor of shape ``[m, *input.shape]``.
    """
    wide = [tensor.detach().to(torch.float64) for tensor in inputs]
    jacobians = []
    for k, tensor in enumerate(wide):
        columns = []
        for i in range(tensor.numel()):
            move = torch.zeros_like(tensor)
            move.view(-1)[i] = step
            sides = [
                function(*wide[:k], tensor + sign * move, *wide[k + 1 :]).detach().flatten()
                for sign in (1.0, -1.0)
            ]
            columns.append((sides[0] - sides[1]) / (2 * step))
        stacked = torch.stack(columns, dim=1)
        jacobians.append(stacked.view(stacked.shape[0], *tensor.shape))
    return jacobians


def project_onto_dual_cone(x: Tensor, matrix: Tensor) -> Tensor:
    r"""Return the point of :math:`\{y \mid J y \ge 0\}` closest to :math:`x`, by trying all faces.

    For each set of rows it projects :math:`x` onto what is orthogonal to them, by a pseudo-inverse,
    and takes the closest point that conflicts with no row: :math:`2^m` cases, for m up to about 10.

    :param x: A tensor of shape ``[n]``.
    :param matrix: The Jacobian :math:`J`, of shape ``[m, n]``.
    :returns: A tensor of shape ``[n]``, float64.

    >>> import torch
    >>> from torchjd.testing import project_onto_dual_cone
    >>> project_onto_dual_cone(torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    rows = matrix.to(torch.float64)
    lengths = rows.norm(dim=1, keepdim=True)
    rows = (rows / torch.where(lengths > 0, lengths, 1.0))[lengths[:, 0] > 0]
    target = x.to(torch.float64)
    slack = 1e-10 * float(target.norm())
    best, shortest = torch.zeros_like(target), float(target.norm())
    for size in range(len(rows) + 1):
        for face in combinations(range(len(rows)), size):
            normal = rows[list(face)]
            point = target - torch.linalg.pinv(normal) @ (normal @ target) if size else target
            distance = float((point - target).norm())
            if bool((rows @ point >= -slack).all()) and distance < shortest:
                best, shortest = point, distance
    return best
