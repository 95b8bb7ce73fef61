"""Compiled backward passes that give away what was saved."""


def donated(what: str, found: str) -> str:
    """Return the message where a backward pass overwrites what later ones need.

    :param what: What is computed: it begins the message.
    :param found: How it showed.
    """
    return (
        f"{what} needs a compiled model whose backward pass leaves saved "
        f"tensors as they are. Got one that overwrites them ({found}): it was compiled, or taken "
        "from a cache, for a plain `.backward()`. Set "
        "`torch._functorch.config.enable_autograd_cache = False` and "
        "`torch._functorch.config.donated_buffer = False` before the first call of the model, and "
        "compile it anew, or differentiate the model that is not compiled."
    )
