"""The values of the objectives that the rows of a Jacobian are the gradients of."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchjd.linalg._autocast import own_precision


@torch.no_grad()
def values(outputs: Sequence[Tensor], cotangents: Sequence[Tensor] | None) -> Tensor:
    r"""Return the value of each objective, of shape ``[m]``.

    Without cotangents, each element of the outputs is one. With them, row i of the Jacobian is the
    gradient of :math:`\sum_k \langle c_{ki}, y_k \rangle`, and that is its value.

    :param outputs: What is differentiated.
    :param cotangents: For each output, a tensor of shape ``[m, *output.shape]``, or None.
    """
    device = outputs[0].device
    if cotangents is None:
        return torch.cat([output.detach().reshape(-1).to(device) for output in outputs])
    with own_precision(device):
        products = [
            (c.reshape(c.shape[0], -1) @ y.reshape(-1)).to(device)
            for c, y in zip(cotangents, outputs, strict=True)
        ]
    return torch.stack(products).sum(0)
