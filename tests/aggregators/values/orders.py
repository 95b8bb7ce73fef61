"""The orders in which gradient surgery compares rows, from the draws that are documented."""

import torch


def drawn_orders(m, generator):
    """Return, for each row, the other rows by increasing draw, of one draw of ``[m, m]``."""
    draws = torch.rand(m, m, generator=generator, dtype=torch.float64)
    return [[j for j in draws[i].argsort().tolist() if j != i] for i in range(m)]
