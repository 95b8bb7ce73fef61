"""One plugin, from its entry point to what it offers, without any installation."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from torchjd.plugins import hookimpl
from torchjd.plugins._load import StillImportingError, load_plugin


def nothing():
    return {}


@pytest.fixture
def load(monkeypatch):
    """Load a module that holds a given hook."""

    def run(hook, target="a_planted_plugin", *, initializing=False):
        module = ModuleType("a_planted_plugin")
        module.__spec__ = type("Spec", (), {"_initializing": initializing})()
        module.torchjd_aggregators = hookimpl(hook, specname="torchjd_aggregators")
        module.holder = type(
            "Holder", (), {"torchjd_aggregators": staticmethod(module.torchjd_aggregators)}
        )
        monkeypatch.setitem(sys.modules, "a_planted_plugin", module)
        return load_plugin(EntryPoint("planted", target, "torchjd"))

    return run


@pytest.mark.parametrize("target", ["a_planted_plugin", "a_planted_plugin:holder"])
def test_a_module_or_an_attribute_of_one_may_hold_the_hooks(load, target):
    found = load(lambda: {"A": "module.inner:A"}, target)
    assert (found.status, found.error) == ("ok", "")
    assert found.names == {"aggregation": {"A": "module.inner:A"}}
    assert found.entry_point == f"planted = {target}"


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (None, "TypeError: `torchjd_aggregators` must return a mapping. Got NoneType"),
        ([("A", "m:A")], "TypeError: `torchjd_aggregators` must return a mapping. Got list"),
        ({"_A": "m:A"}, "ValueError: `torchjd_aggregators` must give public identifiers. Got '_A'"),
        ({"a b": "m:A"}, "ValueError: `torchjd_aggregators` must give public identifiers. Got 'a"),
        ({3: "m:A"}, "ValueError: `torchjd_aggregators` must give public identifiers. Got 3"),
        ({"A": "m"}, "ValueError: `torchjd_aggregators` must map 'A' to \"module:attribute\". Got"),
        ({"A": "m:"}, "ValueError: `torchjd_aggregators` must map 'A' to"),
        ({"A": ":A"}, "ValueError: `torchjd_aggregators` must map 'A' to"),
        ({"A": "m:B.c"}, "ValueError: `torchjd_aggregators` must map 'A' to"),
        ({"A": int}, "ValueError: `torchjd_aggregators` must map 'A' to"),
    ],
)
def test_what_a_hook_may_not_return(load, returned, error):
    found = load(lambda: returned)
    assert found.status == "failed"
    assert found.names == {}
    assert found.error.startswith(error)


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
