"""The hooks that a plugin may implement."""

from collections.abc import Mapping

import pluggy

hookspec = pluggy.HookspecMarker("torchjd")
hookimpl = pluggy.HookimplMarker("torchjd")


@hookspec
def torchjd_aggregators() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the aggregators and weightings that the plugin offers.

    Their names appear under ``torchjd.aggregation``. Called once, when a module of torchjd is first
    asked for a name that it does not define.

    :returns: From each public name to ``"module:attribute"``, imported when the name is asked for.
    """


@hookspec
def torchjd_gramian_rules() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the rules that the plugin adds to the Gramian engine.

    A rule serves the nodes of the autograd graph of one kind, called as ``type(node).__name__``;
    that of a custom ``torch.autograd.Function`` is its name and ``Backward``. It replaces a rule
    that the core has for the kind. ``torchjd.autogram.rules`` says what a rule is. Called once, as
    ``torchjd_aggregators`` is.

    :returns: From each kind to ``"module:attribute"``, imported when a node of it is met.
    """


@hookspec
def torchjd_projectors() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the dual-cone projectors and other solvers that the plugin offers.

    Their names appear under ``torchjd.linalg``. Called once, as ``torchjd_aggregators`` is.

    :returns: From each public name to ``"module:attribute"``, imported when the name is asked for.
    """


@hookspec
def torchjd_scalarizers() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the scalarizers that the plugin offers.

    Their names appear under ``torchjd.scalarization``. Called once, as ``torchjd_aggregators`` is.

    :returns: From each public name to ``"module:attribute"``, imported when the name is asked for.
    """
