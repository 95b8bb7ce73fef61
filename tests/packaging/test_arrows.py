"""Who imports whom: between the packages, and inside the core."""

import ast
from dataclasses import dataclass

import pytest

# package -> the sister packages that it may import
PACKAGES = {
    "torchjd": set(),
    "jd_aggregators": {"torchjd"},
    "jd_amp": {"torchjd"},
    "jd_lightning": {"jd_amp", "torchjd"},
}

# subpackage of the core -> the other subpackages that it may import
CORE = {
    "_autograd": set(),
    "linalg": {"plugins"},
    "plugins": set(),
    "distributed": set(),
    "aggregation": {"linalg", "plugins"},
    "scalarization": {"aggregation", "plugins"},
    "autojac": {"_autograd", "linalg", "aggregation", "distributed"},
    "autogram": {"_autograd", "aggregation", "distributed", "plugins"},
    "monitor": {"linalg", "aggregation", "autogram"},
    "testing": {"linalg", "aggregation", "scalarization", "autojac", "distributed", "plugins"},
}

TYPED_NAMES = {
    ("torchjd.aggregation", "jd_aggregators.aggregators"),
    ("torchjd.linalg", "jd_aggregators.projectors"),
    ("torchjd.scalarization", "jd_aggregators.scalarizers"),
}
"""The imports that type checkers alone see: tables of names, for them and for editors."""


@dataclass(frozen=True)
class Arrow:
    """A module that reads ``target``: a dotted name of a module, or of something in it."""

    source: str
    target: str
    line: int
    typing: bool = False

    def __str__(self):
        return f"{self.source}:{self.line} imports {self.target}"


class Reader(ast.NodeVisitor):
    """Collect what one module imports, and the attributes that it reads from imported modules."""

    def __init__(self, module, *, is_package):
        self.module, self.is_package = module, is_package
        self.arrows, self.bound, self.typing = [], {}, False

    def add(self, target, node):
        self.arrows.append(Arrow(self.module, target, node.lineno, self.typing))

    def visit_If(self, node):
        outside = self.typing
        self.typing = outside or ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for child in node.body:
            self.visit(child)
        self.typing = outside
        for child in [node.test, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name, node)
            first = alias.name.split(".")[0]
            self.bound[alias.asname or first] = alias.name if alias.asname else first

    def visit_ImportFrom(self, node):
        start = node.module or ""
        if node.level:
            parts = self.module.split(".")
            parts = parts[: len(parts) - node.level + self.is_package]
            start = ".".join([*parts, start] if start else parts)
        for alias in node.names:
            self.add(f"{start}.{alias.name}", node)
            self.bound[alias.asname or alias.name] = f"{start}.{alias.name}"

    def visit_Call(self, node):
        if ast.unparse(node.func) in {"import_module", "importlib.import_module", "__import__"}:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    self.add(str(argument.value), node)
        self.generic_visit(node)

    def visit_Attribute(self, node):
        name, _, rest = ast.unparse(node).partition(".")
        if name in self.bound and rest.replace(".", "").isidentifier():
            self.add(f"{self.bound[name]}.{rest}", node)
        else:
            self.generic_visit(node)


def arrows(module, text):
    name = module.removesuffix(".__init__")
    reader = Reader(name, is_package=name != module)
    reader.visit(ast.parse(text))
    return reader.arrows


def private(name):
    return name.startswith("_") and not name.endswith("__")


def fault(arrow):
    """Return what is wrong with an arrow, or None."""
    source, target = arrow.source.split("."), arrow.target.split(".")
    if target[0] not in PACKAGES:
        return None
    if source[0] != target[0]:
        return fault_between(arrow, source, target)
    return fault_in_core(source, target) if source[0] == "torchjd" else None


def fault_between(arrow, source, target):
    if arrow.typing and (arrow.source, ".".join(target[:-1])) in TYPED_NAMES:
        return None
    if target[0] not in PACKAGES[source[0]]:
        return f"{source[0]} must not know {target[0]}"
    if any(map(private, target)):
        return f"private to {target[0]}"
    return None


def fault_in_core(source, target):
    if target[1:2] == ["testing"] and source[1:2] != ["testing"]:
        return "nobody imports the test kit"
    if len(source) == 1 or source[1] not in CORE:
        return None  # the root wires the subpackages together
    if len(target) == 1 or target[1] not in CORE:
        return "a subpackage must not know the root"
    if source[1] != target[1] and target[1] not in CORE[source[1]]:
        return f"{source[1]} must not know {target[1]}"
    return None


def faults(found):
    return [f"{arrow}: {fault(arrow)}" for arrow in found if fault(arrow)]


@pytest.fixture(scope="module")
def all_arrows(sources):
    found = []
    for modules in sources.values():
        for name, path in modules.items():
            found += arrows(name, path.read_text())
    return found


def test_the_tables_name_every_package_and_subpackage(sources):
    assert set(sources) == set(PACKAGES)
    parts = {module.split(".")[1] for module in sources["torchjd"] if module.count(".") > 1}
    assert parts <= set(CORE)


def test_arrows_go_one_way(all_arrows):
    assert faults(all_arrows) == []


def test_the_arrows_that_must_be_there_are_seen(all_arrows):
    """Guards the reader: had it seen nothing, nothing would be wrong."""
    seen = {(arrow.source.split(".")[0], arrow.target.split(".")[0]) for arrow in all_arrows}
    sisters = {(package, other) for package, known in PACKAGES.items() for other in known}
    assert sisters <= seen
    inside = {
        (arrow.source.split(".")[1], arrow.target.split(".")[1])
        for arrow in all_arrows
        if arrow.source.startswith("torchjd.") and arrow.target.startswith("torchjd.")
    }
    assert {("aggregation", "linalg"), ("autojac", "aggregation")} <= inside


CORE_ONLY = "torchjd.autojac._planted"
SISTER = "jd_aggregators._planted"


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        (CORE_ONLY, "import jd_aggregators", "torchjd must not know jd_aggregators"),
        (CORE_ONLY, "from jd_aggregators import UPGrad", "must not know jd_aggregators"),
        (CORE_ONLY, "def f():\n    import jd_aggregators as j", ":2 imports jd_aggregators"),
        (CORE_ONLY, "import_module('jd_aggregators._upgrad')", "must not know jd_aggregators"),
        (CORE_ONLY, "if TYPE_CHECKING:\n    import jd_aggregators", "must not know"),
        (SISTER, "import jd_amp", "jd_aggregators must not know jd_amp"),
        (SISTER, "from torchjd.linalg._checks import as_matrix", "private to torchjd"),
        (SISTER, "from torchjd import _backward", "private to torchjd"),
        (SISTER, "import torchjd as t\nt.linalg._checks.as_matrix(1)", ":2 imports torchjd.linalg"),
        (SISTER, "from torchjd import linalg\nlinalg._types", "private to torchjd"),
        ("jd_lightning._x", "from jd_amp import _scaler", "private to jd_amp"),
        ("jd_amp._x", "import jd_lightning", "jd_amp must not know jd_lightning"),
        ("jd_lightning._x", "import jd_aggregators", "must not know jd_aggregators"),
        ("torchjd.linalg._x", "from torchjd.aggregation import Aggregator", "linalg must not know"),
        ("torchjd.linalg._x", "from ..aggregation import Aggregator", "linalg must not know"),
        ("torchjd.linalg.__init__", "from ..distributed import local", "linalg must not know"),
        (
            "torchjd.linalg.__init__",
            "from jd_aggregators.projectors import *",
            "torchjd must not know jd_aggregators",
        ),
        (
            "torchjd.linalg.__init__",
            "if TYPE_CHECKING:\n    from jd_aggregators.aggregators import *",
            "torchjd must not know jd_aggregators",
        ),
        ("torchjd.aggregation._x", "from torchjd.scalarization import Scalarizer", "must not know"),
        (
            "torchjd.linalg._x",
            "if TYPE_CHECKING:\n    from jd_aggregators import ExactProjector",
            "torchjd must not know jd_aggregators",
        ),
        ("torchjd.aggregation._x", "import torchjd.autojac", "aggregation must not know autojac"),
        ("torchjd.plugins._x", "from torchjd import linalg", "plugins must not know linalg"),
        ("torchjd.distributed._x", "from torchjd import plugins", "must not know plugins"),
        (CORE_ONLY, "from torchjd.plugins import discovered", "autojac must not know plugins"),
        (CORE_ONLY, "from torchjd import backward", "a subpackage must not know the root"),
        (CORE_ONLY, "import torchjd", "a subpackage must not know the root"),
        (CORE_ONLY, "from torchjd.autogram import Engine", "autojac must not know autogram"),
        (CORE_ONLY, "from torchjd.monitor import Recorder", "autojac must not know monitor"),
        (
            "torchjd.aggregation._x",
            "def f():\n    import torchjd.monitor",
            "aggregation must not know monitor",
        ),
        ("torchjd.autogram._x", "from torchjd import monitor", "autogram must not know monitor"),
        (CORE_ONLY, "from torchjd.testing import tolerances", "nobody imports the test kit"),
        ("torchjd._backward", "import torchjd.testing", "nobody imports the test kit"),
    ],
)
def test_a_planted_arrow_is_found(module, text, said):
    (found,) = faults(arrows(module, text))
    assert said in found


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (SISTER, "from torchjd.aggregation import Aggregator"),
        (SISTER, "import torchjd as _torchjd\n_torchjd.__jd_core__"),
        (SISTER, "from ._projection import ExactProjector"),
        (SISTER, "from torch._C import _nn"),
        (CORE_ONLY, "from torchjd.linalg._checks import as_matrix"),
        ("torchjd._backward", "from torchjd.autojac._arguments import as_inputs"),
        ("torchjd.testing._x", "from torchjd.aggregation import Aggregator"),
        (
            "torchjd.aggregation.__init__",
            "if TYPE_CHECKING:\n    from jd_aggregators.aggregators import *",
        ),
        (
            "torchjd.linalg.__init__",
            "if TYPE_CHECKING:\n    from jd_aggregators.projectors import *",
        ),
        ("torchjd.linalg.__init__", "def f():\n    from torchjd.plugins import discovered"),
    ],
)
def test_an_arrow_that_is_allowed_is_not_found(module, text):
    found = arrows(module, text)
    assert found
    assert faults(found) == []
