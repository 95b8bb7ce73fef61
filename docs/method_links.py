"""What discovered classes are called in the documentation, whatever a docstring calls them."""

from functools import cache
from typing import Any

from docutils.nodes import Element, TextElement
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from torchjd.plugins import discovered, discovered_names

KINDS = ("aggregation", "linalg", "scalarization")


@cache
def documented_names() -> dict[str, str]:
    """Return the name under ``torchjd`` for each other name that a class may be imported by."""
    found = {}
    for kind in KINDS:
        for name in discovered_names(kind):
            module = discovered(kind, name).__module__
            # jd_aggregators._x, jd_aggregators, and jd_aggregators.scalarizers._x and its parent
            for place in (module, module.partition("._")[0]):
                found[f"{place}.{name}"] = f"torchjd.{kind}.{name}"
    return found


def resolve_other_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: TextElement
) -> Element | None:
    """Link a name that has no page of its own to the page of the class it stands for."""
    target = documented_names().get(node["reftarget"])
    if node.get("refdomain") != "py" or target is None:
        return None
    python = env.domains.python_domain
    return python.resolve_xref(env, node["refdoc"], app.builder, "class", target, node, text)


def show_interfaces(*event: Any) -> None:
    """Show the interfaces that a class implements, not what its package makes it from."""
    bases = event[-1]
    shown = []
    for base in bases:
        shown += [base] if is_shown(base) else [cls for cls in base.__mro__ if is_of_core(cls)][:1]
    bases[:] = dict.fromkeys(shown)


def is_shown(base: Any) -> bool:
    """Return whether users know a base: it is public, or no plain class at all."""
    if not isinstance(base, type) or "._" not in base.__module__ or is_of_core(base):
        return True
    return f"{base.__module__}.{base.__name__}" in documented_names()


def is_of_core(cls: type) -> bool:
    return cls.__module__.startswith("torchjd.")
