"""Opting out of synchronisation, and the refusal of those who did not say."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch.distributed

_local: ContextVar[bool] = ContextVar("torchjd_distributed_local", default=False)


@contextmanager
def local() -> Iterator[None]:
    """Aggregate what this process computed, on its own, although a process group is initialised.

    For processes that train different models, or that synchronise by themselves. Replicas of one
    model drift apart in it: each rank aggregates another Jacobian. It holds in the thread, or
    the asynchronous task, that enters it.

    >>> import torch, torchjd
    >>> from torchjd.aggregation import UPGrad
    >>> weights = torch.zeros(3, requires_grad=True)
    >>> with torchjd.distributed.local():
    ...     _ = torchjd.backward([weights.sum(), weights.exp().sum()], [weights], UPGrad())
    >>> weights.grad
    tensor([1., 1., 1.])
    """
    token = _local.set(True)
    try:
        yield
    finally:
        _local.reset(token)


def require_single_process(caller: str) -> None:
    """Refuse to aggregate where replicas would silently drift apart.

    :param caller: The function that the user called.
    :raises RuntimeError: If a process group of more than one rank is initialised, outside
        :func:`local`.
    """
    if _local.get() or not torch.distributed.is_available():
        return
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise RuntimeError(
            f"`{caller}` needs a single process: aggregating on each rank by itself lets the "
            f"replicas drift apart. Got a process group of {torch.distributed.get_world_size()} "
            "ranks. If the ranks train different models, or you synchronise by yourself, wrap the "
            "call in `with torchjd.distributed.local():`."
        )
