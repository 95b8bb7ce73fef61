"""Settings of the documentation: built offline, from the docstrings, with warnings as errors."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from runpy import run_path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
import method_links
import method_pages

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
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False

# Without a network there is no inventory of torch's and Python's own documentation to link to.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|collections|typing|abc|pluggy|importlib|pathlib|lightning|matplotlib)\..*"),
    (r"py:.*", r"(Tensor|Node|Generator|Figure|TypeVar|optional|ABC|Generic|Protocol|NewType)"),
    (r"py:.*", r".*\b_[A-Za-z_]+.*"),
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


def write_methods(_: Sphinx) -> None:
    """Write the pages of the methods that are installed."""
    method_pages.write(Path(__file__).parent / "methods")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", draw_pictures)
    app.connect("builder-inited", write_methods)
    app.connect("autodoc-process-bases", method_links.show_interfaces)
    app.connect("missing-reference", method_links.resolve_other_name)
