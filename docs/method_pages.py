"""The pages of the methods, written anew at each build from what is discovered.

A page for each method and its weighting, and a table for each group; nothing here knows a method.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FunctionType

from torch import nn

from torchjd import aggregation, scalarization
from torchjd._method_table import row
from torchjd.aggregation import Aggregator, Method, Stateful, Weighting
from torchjd.scalarization import Scalarizer, ScalarizerMethod

COLUMNS = {
    "method": 24,
    "reads": 12,
    "remembers": 10,
    "guarantees": 18,
    "random": 7,
    "cost": 14,
    "on device": 7,
    "compiles": 8,
}
"""The columns of the tables, with their relative widths."""

INTERFACES = (Aggregator, Weighting, Scalarizer)

Described = Method | ScalarizerMethod


def write(folder: Path) -> None:
    """Write the pages and the tables into ``folder``, and remove what else is there.

    What is as it was keeps its date: Sphinx reads only what is newer.
    """
    texts = render(aggregation.methods(), scalarization.methods())
    for path in folder.rglob("*.*"):
        if path.relative_to(folder).as_posix() not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def render(methods: Sequence[Method], scalarizers: Sequence[ScalarizerMethod]) -> dict[str, str]:
    """Return the text of each page and of each table, by the name of its file."""
    groups: dict[str, list[Described]] = {
        "aggregators": [method for method in methods if method.aggregator is not None],
        "weightings": [method for method in methods if method.aggregator is None],
        "scalarizers": list(scalarizers),
    }
    # A folder for each group: a name may be that of an aggregator and of a scalarizer.
    pages = {
        f"{group}/{method.name}.rst": page(method)
        for group, members in groups.items()
        for method in members
    }
    tables = {f"{group}.txt": table(group, members) for group, members in groups.items()}
    return pages | tables


def page(method: Described) -> str:
    """Return the page of a method: what the table says of it, then its classes."""
    title = f"{method.name}\n{'=' * len(method.name)}\n"
    known = cells(method)
    facts = list_table(known, [COLUMNS[column] for column in known], [known.values()])
    kind = row(method).kind
    documented = [autoclass(kind, name, cls) for name, cls in classes(method).items()]
    return "\n".join([title, facts, *documented])


def table(group: str, members: Sequence[Described]) -> str:
    """Return the table of the methods of a group."""
    rows = []
    for method in members:
        link = f":doc:`{method.name} </methods/{group}/{method.name}>`"
        first, *_ = classes(method).values()
        rows.append([f"{link}: {summary(first)}", *cells(method).values()])
    return list_table(COLUMNS, COLUMNS.values(), rows)


def cells(method: Described) -> dict[str, str]:
    """Return what stands in the columns after the first."""
    line = row(method)
    return {
        "reads": line.input,
        "remembers": mathematics(line.state),
        "guarantees": line.guarantees,
        "random": line.random,
        "cost": mathematics(line.cost),
        "on device": line.on_device,
        "compiles": line.compiles,
    }


def classes(method: Described) -> dict[str, type]:
    """Return the classes of a method by the names they are imported by, the one to use first."""
    if isinstance(method, ScalarizerMethod):
        return {method.name: method.scalarizer}
    suffix = "Weighting" if method.aggregator else ""
    named = [(method.name, method.aggregator), (method.name + suffix, method.weighting)]
    return {name: cls for name, cls in named if cls is not None}


def autoclass(kind: str, name: str, cls: type) -> str:
    """Return the directives that document a class and what it adds to its interface."""
    # The signature of all modules is that of a class without parameters of its own.
    is_bare = cls.__init__ in {nn.Module.__init__, *(base.__init__ for base in INTERFACES)}
    lines = [f".. autoclass:: torchjd.{kind}.{name}{'()' if is_bare else ''}", "   :no-members:"]
    for member, value in members(cls).items():
        directive = "autoproperty" if isinstance(value, property) else "automethod"
        lines += ["", f"   .. {directive}:: {member}"]
    return "\n".join(lines) + "\n"


def members(cls: type) -> dict[str, object]:
    """Return the methods and properties that a class adds to what all modules have.

    Not the parameters: that each can be set as an attribute would only list it twice.
    """
    hidden = {*dir(nn.Module), *inspect.signature(cls).parameters}
    found = {"reset": inspect.getattr_static(cls, "reset")} if issubclass(cls, Stateful) else {}
    found |= {name: value for name, value in vars(cls).items() if name not in hidden}
    is_shown = (FunctionType, property)
    return {n: v for n, v in sorted(found.items()) if n[0] != "_" and isinstance(v, is_shown)}


def summary(cls: type) -> str:
    """Return the first sentence of the docstring."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def mathematics(text: str) -> str:
    """Return a formula such as ``m^2 n + m^3`` as mathematics, and what has words as it is."""
    formula = bool(text) and not re.search(r"[A-Za-z]{3}", text)
    return f":math:`{text}`" if formula else text


def list_table(header: Iterable[str], widths: Iterable[int], rows: Iterable[Iterable[str]]) -> str:
    """Return a table, as the directive ``list-table``."""
    lines = [".. list-table::", "   :header-rows: 1"]
    lines += [f"   :widths: {' '.join(map(str, widths))}", ""]
    for texts in (header, *rows):
        lines += [f"   {'  -' if i else '* -'} {text}".rstrip() for i, text in enumerate(texts)]
    return "\n".join(lines) + "\n"
