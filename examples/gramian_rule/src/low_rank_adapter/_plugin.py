"""The entry point: it names the rule, and imports nothing of it."""

from torchjd.plugins import hookimpl


@hookimpl
def torchjd_gramian_rules():
    return {"LowRankAdapterBackward": "low_rank_adapter._rule:low_rank_adapter"}
