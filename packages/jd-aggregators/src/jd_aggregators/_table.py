"""Tables of what this distribution offers, read without importing any of it."""

from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from types import CodeType, SimpleNamespace
from typing import Any


def places(table: str) -> dict[str, str]:
    """Return the place of each name in a table, as ``"module:attribute"``.

    A table is a module of imports alone, which type checkers read as it is. At run time it is
    executed with an import that notes what is asked for: all the modules take tens of milliseconds,
    and most people want one of them.

    :param table: The name of the module.

    >>> from jd_aggregators._table import places
    >>> places("jd_aggregators.aggregators")["UPGrad"]
    'jd_aggregators._upgrad:UPGrad'
    """
    spec = find_spec(table)
    assert spec is not None
    found: dict[str, str] = {}

    def note(
        name: str,
        globals_: object = None,  # noqa: ARG001  (as of the import that it replaces)
        locals_: object = None,  # noqa: ARG001
        names: tuple[str, ...] = (),
        level: int = 0,
    ) -> SimpleNamespace:
        module = resolve_name("." * level + name, spec.parent)
        found.update({each: f"{module}:{each}" for each in names})
        return SimpleNamespace(**dict.fromkeys(names))

    exec(_code(spec), {"__builtins__": {"__import__": note}})  # noqa: S102  (of this distribution)
    return found


def _code(spec: ModuleSpec) -> CodeType:
    """Return the code of a module, wherever it is: in a file, an archive, or an executable."""
    loader: Any = spec.loader
    code: CodeType = loader.get_code(spec.name)
    return code
