"""Tensors that say they are on a GPU: what is computed from them is traced, without values.

Whatever reads a value on the host raises ``DataDependentOutputException``; what is made on another
device, or copied there, fails or can be asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Let tensors be made with ``device="cuda"`` whatever this machine has.

    :raises AssertionError: If a tensor is copied to the host.
    """
    with FakeTensorMode(), _NoCopyToTheHost(), _WithoutGuards():
        yield


class _NoCopyToTheHost(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[0] if func is torch.ops.aten._to_copy.default else args[1]
            assert (source.device.type, out.device.type) != ("cuda", "cpu"), "copied to the host"
        return out


class _WithoutGuards(TorchFunctionMode):
    """Express by other functions those few that select the device, which not every build can."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.__getitem__:
            return _view(*args)
        if func is Tensor.__setitem__:
            torch.ops.aten.copy(_view(*args[:2]), args[2])  # there are no values to write
            return None
        if func is Tensor.copy_:
            torch.ops.aten.copy(*args)
            return args[0]
        if func is Tensor.__invert__:
            return torch.bitwise_not(*args)
        if func is Tensor.contiguous:
            return torch.clone(*args, memory_format=torch.contiguous_format)
        return func(*args, **(kwargs or {}))


def _view(tensor: Tensor, index: object) -> Tensor:
    """Return ``tensor[index]``, for an index without tensors."""
    parts = index if isinstance(index, tuple) else (index,)
    used = sum(isinstance(part, int | slice) for part in parts)
    dim = 0
    for part in parts:
        if part is Ellipsis:
            dim += tensor.ndim - sum(p is None for p in parts[: parts.index(part)]) - used
            used = 0
        elif part is None:
            tensor = torch.unsqueeze(tensor, dim)
            dim += 1
        elif isinstance(part, slice):
            tensor = torch.ops.aten.slice(tensor, dim, part.start, part.stop, part.step or 1)
            dim += 1
        else:
            assert isinstance(part, int), f"an index of type {type(part).__name__} reads values"
            tensor = torch.select(tensor, dim, part)
    return tensor
