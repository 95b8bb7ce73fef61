from torchjd.plugins import hookimpl


@hookimpl
def torchjd_gramian_rules():
    return {"DisputedBackward": "rival_rules:never_asked"}
