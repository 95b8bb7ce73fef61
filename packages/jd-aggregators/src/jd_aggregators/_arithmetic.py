"""Weights from small Gramians: by numpy where values may be looked at, else by torch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchjd.linalg import PSDMatrix

from ._on_host import numpy_module, on_host
from ._precision import finished, widened
from ._preference import preference
from ._spectrum import Array

Compute = Callable[[Any, Array, Array], Array]
"""From a module, a Gramian and a preference, to the weights."""


def weigh(compute: Compute, gramian: PSDMatrix, pref_vector: Tensor | None = None) -> Tensor:
    """Return the weights that ``compute`` gives, in the dtype of ``gramian`` or float32.

    :param compute: From a module, ``torch`` or ``numpy``, a Gramian of shape ``[m, m]``, and a
        preference of shape ``[m]``, to weights of shape ``[m]``. It uses what the two modules have
        in common. The Gramian is finite, and of dtype float64, or float32 on devices without.
    :param gramian: As a weighting is given it. Where it is not finite, the weights are NaN.
    :param pref_vector: The preference, or None for the mean.
    :raises ValueError: If the preference does not have ``m`` entries.
    """
    G = widened(gramian)
    numpy = numpy_module() if on_host(G) else None
    if numpy is None:
        finite = G.nan_to_num(0.0, 0.0, 0.0)
        return finished(compute(torch, finite, preference(pref_vector, G)), gramian)
    p = None if pref_vector is None else preference(pref_vector, G).numpy()
    return weights_of(_by_numpy(numpy, compute, G.numpy(), p), gramian)


def weights_of(values: Array | list[float], gramian: PSDMatrix) -> Tensor:
    """Return ``values``, held on the host, as weights for ``gramian``: in its dtype or float32."""
    dtype = torch.promote_types(gramian.dtype, torch.float32)
    return torch.tensor(values, dtype=dtype, device=gramian.device)


def _by_numpy(numpy: Any, compute: Compute, G: Array, p: Array | None) -> Array:
    m = len(G)
    if not numpy.isfinite(G).all():
        return numpy.full(m, numpy.nan)
    with numpy.errstate(all="ignore"):
        return compute(numpy, G, numpy.full(m, 1.0 / m) if p is None else p)
