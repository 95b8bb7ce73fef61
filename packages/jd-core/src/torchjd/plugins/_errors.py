"""What can go wrong with plugins, by name."""


class PluginError(ImportError):
    """A discovered name cannot be had; the message says whose fault it is and what to do."""


class PluginConflictError(PluginError):
    """Two plugins offer the same name."""


class PluginWarning(UserWarning):
    """A plugin was left out, or none is installed; the message names it and the remedy."""


def cause(error: BaseException) -> str:
    """Return the type and the message of ``error``, on one line and without a full stop."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(":. ")
