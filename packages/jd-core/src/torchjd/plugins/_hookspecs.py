"""The hooks that a plugin may implement."""

from collections.abc import Mapping

import pluggy

hookspec = pluggy.HookspecMarker("torchjd")
hookimpl = pluggy.HookimplMarker("torchjd")


@hookspec
def torchjd_aggregators() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the aggregators and weightings that the plugin offers.

    Called once, when a name is first asked of ``torchjd.aggregation`` that it does not define.

    :returns: From each public name to ``"module:attribute"``, imported when the name is asked for.
    """
