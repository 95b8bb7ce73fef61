"""Discovery while plugins are being imported, and from several threads."""

MIDWAY = """
import json, sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import imports_itself
    from torchjd.aggregation import Derived
    from torchjd.plugins import list_plugins
json.dump(
    [
        imports_itself.UPGrad.__name__,
        Derived is imports_itself.Derived,
        {plugin.dist: plugin.status for plugin in list_plugins()},
        [str(warning.message).split(" (")[0] for warning in caught],
    ],
    sys.stdout,
)
"""

# One thread is in the middle of importing a plugin, and needs discovery to go on; another is in
# the middle of discovery, and needs that plugin. Neither goes on before the other got there.
CROSSED = """
import faulthandler, json, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
import torchjd.aggregation
from torchjd.plugins import _discovery, list_plugins

importing, discovering = threading.Event(), threading.Event()
look_up, entry_points = torchjd.aggregation.__getattr__, _discovery.entry_points

def gated_look_up(name):
    if threading.current_thread().name == "importer" and not importing.is_set():
        importing.set()
        discovering.wait(30)
    return look_up(name)

def gated_entry_points(**group):
    discovering.set()
    importing.wait(30)
    return entry_points(**group)

torchjd.aggregation.__getattr__ = gated_look_up
_discovery.entry_points = gated_entry_points
seen = {}

def importer():
    import imports_itself
    seen["importer"] = imports_itself.UPGrad.__name__

def discoverer():
    seen["discoverer"] = torchjd.aggregation.UPGrad.__name__

threads = [threading.Thread(target=f, name=f.__name__) for f in (importer, discoverer)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
seen["Derived"] = torchjd.aggregation.Derived.__module__
json.dump(seen, sys.stdout)
"""

TOGETHER = """
import faulthandler, json, sys, threading, warnings
faulthandler.dump_traceback_later(60, exit=True)
from torchjd.plugins import _discovery

both = threading.Barrier(2, timeout=30)
entry_points = _discovery.entry_points

def gated_entry_points(**group):
    both.wait()
    return entry_points(**group)

_discovery.entry_points = gated_entry_points
found = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    threads = [
        threading.Thread(target=lambda: found.append(_discovery.registry())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
names = {plugin.dist for plugin in found[0].plugins}
json.dump([found[0] is found[1], sorted(names), len(caught)], sys.stdout)
"""


def test_a_plugin_may_import_a_discovered_name_when_it_is_imported_first(evaluate):
    upgrad, derived, status, warned = evaluate(MIDWAY, dists=["imports-itself", "fails-at-import"])
    assert upgrad == "UPGrad"
    assert derived
    assert status == {"fails-at-import": "failed", "imports-itself": "ok", "jd-aggregators": "ok"}
    assert warned == ["The plugin fails-at-import 1.0"]


def test_discovery_and_the_import_of_a_plugin_do_not_wait_for_each_other(evaluate):
    seen = evaluate(CROSSED, dists=["imports-itself"])
    assert seen == {"importer": "UPGrad", "discoverer": "UPGrad", "Derived": "imports_itself"}


def test_two_threads_that_discover_at_once_get_one_registry(evaluate):
    one, names, warned = evaluate(TOGETHER, dists=["good-plugin", "fails-at-import"])
    assert one
    assert names == ["fails-at-import", "good-plugin", "jd-aggregators"]
    assert warned == 1
