"""Ask torchjd for the names given as arguments; print as JSON what a user's process sees.

A name is one of ``torchjd.aggregation``, or a dotted one: ``linalg.ExactProjector``.
"""

import contextlib
import dataclasses
import io
import json
import runpy
import sys
import warnings


def ask(name):
    kind, _, name = name.rpartition(".")
    try:
        module = __import__(f"torchjd.{kind or 'aggregation'}", fromlist=[name])
        found = getattr(module, name)
    except (ImportError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{found.__module__}.{found.__qualname__}"


def table():
    sys.argv = ["torchjd", "plugins"]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        runpy.run_module("torchjd", run_name="__main__")
    return shown.getvalue()


def main(names):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = {name: ask(name) for name in names}
        from torchjd import aggregation, linalg, plugins

        listed = [dataclasses.asdict(plugin) for plugin in plugins.list_plugins()]
        seen = {"aggregation": dir(aggregation), "linalg": dir(linalg)}
        shown = table()
    warned = [f"{warning.category.__name__}: {warning.message}" for warning in caught]
    json.dump(
        {"answers": answers, "warnings": warned, "plugins": listed, "dir": seen, "table": shown},
        sys.stdout,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
