"""Strategies of Lightning under which replicas would drift apart."""

from lightning.pytorch.strategies import ParallelStrategy, Strategy


def refuse_multi_process(strategy: Strategy) -> None:
    """Refuse to aggregate where other processes train the same model.

    :param strategy: That of the trainer.
    :raises RuntimeError: If it runs on several processes, or shards the parameters.
    """
    # Not every strategy of several processes is a `ParallelStrategy` of Lightning's own, and one
    # that shards or wraps the model keeps its gradients elsewhere, be it on one device.
    ranks = getattr(strategy, "world_size", 1)
    if not isinstance(strategy, ParallelStrategy) and ranks == 1:
        return
    found = type(strategy).__name__
    raise RuntimeError(
        "Multi-process training is not supported by jd-lightning yet: each rank would aggregate "
        f"its own Jacobian, and the replicas would drift apart. Got `strategy` {found} with "
        f"{ranks} process{'' if ranks == 1 else 'es'}. Use `Trainer(devices=1, "
        'strategy="auto")`; ranks that train different models can use manual optimisation, with '
        "`torchjd.distributed.local()` around the calls of `torchjd.autojac`."
    )
