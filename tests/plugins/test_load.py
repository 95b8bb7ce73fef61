"""One plugin, from its entry point to what it offers, without any installation."""

import sys
from importlib import import_module
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from torchjd.plugins import hookimpl
from torchjd.plugins._load import StillImportingError, load_plugin

KINDS = {
    "torchjd_aggregators": "aggregation",
    "torchjd_gramian_rules": "autogram.rules",
    "torchjd_projectors": "linalg",
}
NAMES = {kind: import_module(f"torchjd.{kind}").__all__ for kind in KINDS.values()}


def nothing():
    return {}


@pytest.fixture
def load(monkeypatch):
    """Load a module that holds a given hook."""

    def run(hook, target="a_planted_plugin", *, specname="torchjd_aggregators", initializing=False):
        module = ModuleType("a_planted_plugin")
        module.__spec__ = type("Spec", (), {"_initializing": initializing})()
        module.hook = hookimpl(hook, specname=specname)
        module.holder = type("Holder", (), {"hook": staticmethod(module.hook)})
        monkeypatch.setitem(sys.modules, "a_planted_plugin", module)
        return load_plugin(EntryPoint("planted", target, "torchjd"))

    return run


@pytest.mark.parametrize("target", ["a_planted_plugin", "a_planted_plugin:holder"])
def test_a_module_or_an_attribute_of_one_may_hold_the_hooks(load, target):
    found = load(lambda: {"A": "module.inner:A"}, target)
    assert (found.status, found.error) == ("ok", "")
    assert found.names == {"aggregation": {"A": "module.inner:A"}}
    assert found.entry_point == f"planted = {target}"


@pytest.mark.parametrize("hook", KINDS)
def test_the_names_that_a_hook_gives_are_of_its_kind(load, hook):
    found = load(lambda: {"A": "module.inner:A"}, specname=hook)
    assert found.names == {KINDS[hook]: {"A": "module.inner:A"}}


@pytest.mark.parametrize("hook", KINDS)
@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (None, "TypeError: `{hook}` must return a mapping. Got NoneType"),
        ([("A", "m:A")], "TypeError: `{hook}` must return a mapping. Got list"),
        ({"_A": "m:A"}, "ValueError: `{hook}` must give public identifiers. Got '_A'"),
        ({"a b": "m:A"}, "ValueError: `{hook}` must give public identifiers. Got 'a b'"),
        ({3: "m:A"}, "ValueError: `{hook}` must give public identifiers. Got 3"),
        ({"A": "m"}, "ValueError: `{hook}` must map 'A' to \"module:attribute\". Got 'm'"),
        ({"A": "m:"}, "ValueError: `{hook}` must map 'A' to"),
        ({"A": ":A"}, "ValueError: `{hook}` must map 'A' to"),
        ({"A": "m:B.c"}, "ValueError: `{hook}` must map 'A' to"),
        ({"A": int}, "ValueError: `{hook}` must map 'A' to"),
    ],
)
def test_what_a_hook_may_not_return(load, hook, returned, error):
    found = load(lambda: returned, specname=hook)
    assert found.status == "failed"
    assert found.names == {}
    assert found.error.startswith(error.format(hook=hook))


@pytest.mark.parametrize(
    ("hook", "name"),
    [(hook, name) for hook, kind in KINDS.items() for name in NAMES[kind]],
)
def test_a_name_that_the_core_defines_is_refused_by_name(load, hook, name):
    """Nobody could ever reach it: the module has what the core calls so."""
    found = load(lambda: {"A": "m:A", name: "m:B"}, specname=hook)
    assert (found.status, found.names) == ("failed", {})
    assert found.error == (
        f"ValueError: `{hook}` must not give names that torchjd.{KINDS[hook]} defines itself. "
        f"Got '{name}'. Rename what has such a name"
    )


def test_a_name_of_another_module_of_the_core_is_free(load):
    assert load(lambda: {"Aggregator": "m:A"}, specname="torchjd_projectors").status == "ok"
    assert load(lambda: {"DualConeProjector": "m:A"}).status == "ok"


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (RuntimeError("first\n  second. "), "RuntimeError: first second"),
        (RuntimeError(), "RuntimeError"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_a_hook_that_raises(load, raised, error):
    def hook():
        raise raised

    assert load(hook).error == error


def test_a_hook_that_is_interrupted_interrupts(load):
    def hook():
        raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        load(hook)


def test_a_hook_with_an_argument_is_told_so(load):
    found = load(lambda registry: {})
    assert found.error.startswith("PluginValidationError: Plugin 'a_planted_plugin'")
    assert "registry" in found.error


@pytest.mark.parametrize("target", ["a_planted_plugin", "a_planted_plugin:not_defined_yet"])
def test_a_module_in_the_middle_of_its_import_is_asked_again_later(load, target):
    with pytest.raises(StillImportingError, match=r"^$"):
        load(nothing, target, initializing=True)


@pytest.mark.parametrize("target", ["not a module", ""])
def test_an_entry_point_that_is_none_is_left_out(load, target):
    assert load(nothing, target).status == "failed"
