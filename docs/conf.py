"""Settings of the documentation: built offline, from the docstrings, with warnings as errors."""

from importlib.metadata import version as installed_version
from pathlib import Path
from runpy import run_path

from sphinx.application import Sphinx

project = "Jacobian descent for PyTorch"
author = "the contributors"
copyright = f"2026, {author}"
version = release = installed_version("jd-core")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = project
templates_path = []
html_static_path = []

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False

# Without a network there is no inventory of torch's and Python's own documentation to link to.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|collections|typing|abc|pluggy|importlib)\..*"),
    (r"py:.*", r"(Tensor|Node|Generator|TypeVar|optional|ABC|Generic|Protocol|NewType)"),
    (r"py:.*", r".*\b_[A-Za-z_]+.*"),
    # Discovered names are documented where they are defined: in jd_aggregators.
    (r"py:.*", r"torchjd\.aggregation\.Flattening"),
]


def draw_pictures(_: Sphinx) -> None:
    """Draw the pictures of the guides, for light and for dark pages."""
    docs = Path(__file__).parent
    pictures = docs / "_build" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    examples = docs.parent / "examples"
    dual_cone = run_path(str(examples / "dual_cone.py"))
    gramian = run_path(str(examples / "gramian_picture.py"))
    C = gramian["cosines"]()
    for name in ("light", "dark"):
        for stem, picture in (
            ("dual_cone", dual_cone["draw"](dual_cone["STYLES"][name])),
            ("gramian", gramian["draw"](C, gramian["STYLES"][name])),
        ):
            path = pictures / f"{stem}-{name}.svg"
            picture.savefig(path, transparent=True, metadata={"Date": None})


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", draw_pictures)
