"""QR factorisations in extended precision, which LAPACK does not have."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.longdouble]
Mask = NDArray[np.bool_]

# A column that is closer than this to the span of others is taken to be in it.
_DEPENDENT = 1e-13


def factorise(A: Array) -> tuple[list[Array], Array]:
    """Return the Householder reflectors of a QR factorisation, and its R."""
    R, reflectors = A.copy(), []
    for k in range(min(A.shape)):
        v = R[k:, k].copy()
        length = np.sqrt(v @ v)
        if length > 0.0:
            v[0] += np.copysign(length, v[0])
            v *= np.sqrt(2.0 / (v @ v))
            R[k:, k:] -= np.outer(v, v @ R[k:, k:])
            R[k + 1 :, k] = 0.0
        reflectors.append(v)
    return reflectors, R[: min(A.shape)]


def reflect(reflectors: list[Array], b: Array) -> Array:
    """Multiply the vector ``b`` by the transpose of Q, in place."""
    for k, v in enumerate(reflectors):
        b[k:] -= v * (v @ b[k:])
    return b


def reflect_back(reflectors: list[Array], b: Array) -> Array:
    """Multiply the vector or matrix ``b`` by Q, in place."""
    for k, v in reversed(list(enumerate(reflectors))):
        b[k:] -= np.multiply.outer(v, v @ b[k:])
    return b


def dependent(R: Array) -> Mask:
    """Return which columns depend on those before them."""
    distances = np.zeros(R.shape[1], dtype=np.longdouble)
    distances[: len(R)] = abs(np.diagonal(R))
    return np.asarray(distances <= _DEPENDENT)


def substitute(R: Array, b: Array) -> Array:
    """Return the solution of ``R[:, :n] w = b`` for an upper triangle."""
    w = b.copy()
    for k in range(R.shape[1] - 1, -1, -1):
        w[k] = (w[k] - R[k, k + 1 :] @ w[k + 1 :]) / R[k, k]
    return w
