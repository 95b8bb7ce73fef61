"""The random orders in which gradient surgery compares each row with the others."""

import torch
from torch import Tensor

from ._drawing import Drawing

_ON_THE_CPU = torch.empty(0, dtype=torch.float64, device="cpu")


class Pairing(Drawing):
    """A weighting that compares each row with all others, in an order drawn for that row."""

    def partners(self, gramian: Tensor) -> Tensor:
        r"""Return whom each row is compared with at each step.

        Row :math:`i` meets the others by increasing :math:`u_{ij}`, for one draw of ``[m, m]``
        uniform numbers :math:`u`.

        :param gramian: A tensor of shape ``[m, m]``, which says where the result is to be.
        :returns: Indices of shape ``[m - 1, m]``: for each step, the partner of each row.
        """
        m = gramian.shape[0]
        draws = self.uniform(m, m, like=gramian)
        draws.fill_diagonal_(2.0)  # beyond all draws: a row meets itself last, which is left out
        return draws.argsort(dim=1)[:, :-1].T.contiguous()

    def orders(self, m: int) -> list[list[int]]:
        """Return, for each of m rows, whom it meets: as :meth:`partners`, and from the same draw.

        :param m: The number of rows.
        """
        draws = self.uniform(m, m, like=_ON_THE_CPU).tolist()
        if m == 2:
            return [[1], [0]]
        others = range(m)
        return [
            sorted((j for j in others if j != i), key=row.__getitem__)
            for i, row in enumerate(draws)
        ]
