from torchjd.plugins import hookimpl


@hookimpl
def torchjd_agregators():
    return {"Unseen": "misspelt_hook:Unseen"}
