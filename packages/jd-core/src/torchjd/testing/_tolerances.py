"""How close results must be, by dtype: the one place where that is decided."""

import torch
from torch import Tensor

_RELATIVE = {
    torch.float64: 1e-9,
    torch.float32: 1e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}


def tolerance(dtype: torch.dtype) -> float:
    """Return the relative error that results of ``dtype`` may have.

    :raises KeyError: If ``dtype`` is not a real floating dtype that the library supports.

    >>> import torch
    >>> from torchjd.testing import tolerance
    >>> tolerance(torch.float64)
    1e-09
    """
    return _RELATIVE[dtype]


def assert_close(found: Tensor, expected: Tensor, *, scale: Tensor | float | None = None) -> None:
    """Assert that two tensors are equal up to the tolerance of the dtype of ``found``.

    :param found: What was computed.
    :param expected: What is right; of any floating dtype, usually float64.
    :param scale: What the error is relative to. Default: the largest entry of ``expected``.
    :raises AssertionError: If shapes differ, or an entry is off; the message shows the worst.
    """
    assert found.shape == expected.shape, f"shape {list(found.shape)}, not {list(expected.shape)}"
    if found.numel() == 0:
        return
    wide = found.detach().to("cpu", torch.float64)
    truth = expected.detach().to("cpu", torch.float64)
    size = truth.abs().max() if scale is None else torch.as_tensor(scale, dtype=torch.float64)
    # Never below what the dtype can represent: gradients of denormal size are rounded away.
    allowed = float(tolerance(found.dtype) * size) + torch.finfo(found.dtype).tiny
    error = (wide - truth).abs()
    worst = int(error.nan_to_num(nan=torch.inf).argmax())
    assert bool((error <= allowed).all()), (
        f"off by {float(error.flatten()[worst]):.3g}, {allowed:.3g} allowed: "
        f"{float(wide.flatten()[worst]):.9g}, not {float(truth.flatten()[worst]):.9g}, "
        f"at flat index {worst} of shape {list(found.shape)}"
    )
