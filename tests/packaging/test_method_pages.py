"""The documentation has a page and a row for each method that is discovered."""

import os
import sys
from importlib import import_module

import pytest

from torchjd.aggregation import Aggregator, Method, Traits, Weighting
from torchjd.plugins import discovered_names
from torchjd.scalarization import Scalarizer, ScalarizerMethod


@pytest.fixture(scope="module")
def method_pages(root):
    sys.path.insert(0, str(root / "docs"))
    yield import_module("method_pages")
    sys.path.remove(str(root / "docs"))


@pytest.fixture
def folder(method_pages, tmp_path):
    method_pages.write(tmp_path)
    return tmp_path


def test_every_discovered_class_is_documented_once(folder):
    documented = [
        line.removeprefix(".. autoclass:: torchjd.").removesuffix("()")
        for path in folder.rglob("*.rst")
        for line in path.read_text().splitlines()
        if line.startswith(".. autoclass:: ")
    ]
    assert sorted(documented) == sorted(
        f"{kind}.{name}"
        for kind in ("aggregation", "scalarization")
        for name in discovered_names(kind)
    )


def test_every_page_has_one_row_in_the_table_of_its_group(folder):
    pages = {
        f"/methods/{page.relative_to(folder).with_suffix('')}" for page in folder.rglob("*.rst")
    }
    assert len(pages) > 5
    tables = {path.stem: path.read_text() for path in folder.glob("*.txt")}
    assert sorted(tables) == ["aggregators", "scalarizers", "weightings"]
    for page in pages:
        assert tables[page.split("/")[2]].count(f"<{page}>`:") == 1
    assert sum(table.count("* - :doc:") for table in tables.values()) == len(pages)


def test_a_row_says_what_the_class_declares(folder):
    row = (folder / "aggregators.txt").read_text().split("* - :doc:`UPGrad <")[1].split("* -")[0]
    cells = [cell.strip() for cell in row.split("\n     -")]
    assert cells[0].endswith(
        "The mean of the rows of :math:`J`, each projected onto the dual cone of all rows."
    )
    assert cells[1:] == [
        *["Gramian", "", "no conflict, permutation, linear under scaling, homogeneous", ""],
        *[":math:`m^2 n + m^4`", "yes", ""],
    ]


def test_what_is_no_longer_offered_has_no_page(method_pages, folder):
    stale = [folder / "aggregators" / "Gone.rst", folder / "gone.txt"]
    for path in stale:
        path.write_text("Gone\n====\n")
    method_pages.write(folder)
    assert not any(path.exists() for path in stale)
    assert (folder / "aggregators" / "UPGrad.rst").exists()


def test_a_page_that_is_as_it_was_is_not_written_again(method_pages, folder):
    paths = list(folder.rglob("*.*"))
    for path in paths:
        os.utime(path, (1, 1))
    changed = folder / "aggregators" / "Mean.rst"
    changed.write_text("another page")
    method_pages.write(folder)
    assert changed.read_text().startswith("Mean\n====\n")
    assert [path for path in paths if path.stat().st_mtime != 1] == [changed]


class Plain(Aggregator):
    """Sum the rows."""

    def forward(self, matrix, /):
        return matrix.sum(dim=0)


class Waiting(Weighting):
    """Wait for
    a while.

    And more.
    """

    def __init__(self, calls=2):
        super().__init__()
        self.calls = calls

    @property
    def left(self):
        """How many calls are left."""

    def reset(self):
        """Forget the past."""

    def _private(self): ...

    def forward(self, stat, /): ...


class Whole(Scalarizer):
    """Sum the losses."""

    def __init__(self, factor):
        super().__init__()

    def forward(self, values, /): ...

    @property
    def factor(self):
        """A parameter."""


TRAITS = Traits(state="m n", cost="m^2 n, sorted")
PLANTED = [
    Method("Plain", Plain, None, "jacobian", True, "s^2", TRAITS),
    Method("Waiting", None, Waiting, None, False, "", Traits(random=True)),
]


@pytest.fixture(scope="module")
def planted(method_pages):
    return method_pages.render(PLANTED, [ScalarizerMethod("Plain", Whole, Traits())])


def test_one_name_of_two_kinds_has_two_pages(planted):
    assert sorted(name for name in planted if name.endswith(".rst")) == [
        "aggregators/Plain.rst",
        "scalarizers/Plain.rst",
        "weightings/Waiting.rst",
    ]


@pytest.mark.parametrize(
    ("name", "documented"),
    [
        # without parameters of its own, it must not show those of all modules
        ("aggregators/Plain", ".. autoclass:: torchjd.aggregation.Plain()\n   :no-members:\n"),
        (
            "weightings/Waiting",
            (
                ".. autoclass:: torchjd.aggregation.Waiting\n   :no-members:\n\n"
                "   .. autoproperty:: left\n\n   .. automethod:: reset\n"
            ),
        ),
        # what can be passed to the constructor is documented there
        ("scalarizers/Plain", ".. autoclass:: torchjd.scalarization.Plain\n   :no-members:\n"),
    ],
)
def test_a_page_shows_what_a_class_adds_to_its_interface(planted, name, documented):
    page = planted[f"{name}.rst"]
    assert page[page.index(".. autoclass") :] == documented


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("aggregators", "Jacobian, losses|:math:`m n`|scaling s^2||m^2 n, sorted||"),
        ("weightings", "what its weighting reads|||yes|||"),
        ("scalarizers", "losses||||||"),
    ],
)
def test_the_cells_of_a_row(planted, group, said):
    row = planted[f"{group}.txt"].split("* - :doc:")[1]
    assert "|".join(cell.strip() for cell in row.split("\n     -")[1:]) == said


def test_the_summary_is_the_first_sentence(planted):
    start = ":doc:`Waiting </methods/weightings/Waiting>`: Wait for a while.\n"
    assert start in planted["weightings.txt"]
