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
]


def draw_pictures(_: Sphinx) -> None:
    """Draw the pictures of the guides, for light and for dark pages."""
    docs = Path(__file__).parent
    pictures = docs / "_build" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    example = run_path(str(docs.parent / "examples" / "dual_cone.py"))
    for name, style in example["STYLES"].items():
        path = pictures / f"dual_cone-{name}.svg"
        example["draw"](style).savefig(path, transparent=True, metadata={"Date": None})


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", draw_pictures)
